// Starts what is to be started since the host came up (host_turns.cpp), as start_schedule.hpp has it, so many of each
// user's at a time. Of one that cannot be started the last reason is kept. While the host goes down none is started;
// they go on if it stays up after all.
#pragma once

#include <thread>
#include <vector>

#include "daemon/domains.hpp"
#include "daemon/start_schedule.hpp"
#include "host/mutex.hpp"

namespace cloister::toolstack {

class AutostartThreads {
 public:
  /// The domains must outlive it.
  AutostartThreads(Domains& domains, u32 at_once);
  /// Waits for those that are being started; what is left is left to the next daemon.
  ~AutostartThreads();
  AutostartThreads(const AutostartThreads&) = delete;
  AutostartThreads& operator=(const AutostartThreads&) = delete;

 private:
  void run();
  void attempt(const PendingStart& what) CLOISTER_REQUIRES(lock_);

  Domains& domains_;
  Mutex lock_;
  Condition changed_;  ///< one has been tried, or all is to end
  StartSchedules schedule_ CLOISTER_GUARDED_BY(lock_);
  bool stopping_ CLOISTER_GUARDED_BY(lock_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cloister::toolstack
