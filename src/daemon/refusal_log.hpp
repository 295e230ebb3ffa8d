// The log's lines about requests that were refused: of each user so many as host/line_limit.hpp says. How many were
// left out is told before the next one that is not, and when nothing more has come for a while.
//
// Threads: any.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "host/line_limit.hpp"
#include "host/mutex.hpp"

namespace cloister::toolstack {

class RefusalLog {
 public:
  /// That so many lines were left out.
  using TellLost = std::function<void(unsigned uid, u64 times)>;

  explicit RefusalLog(TellLost tell_lost, std::chrono::milliseconds quiet = std::chrono::seconds(1));
  /// Tells what is lost before.
  ~RefusalLog();
  RefusalLog(const RefusalLog&) = delete;
  RefusalLog& operator=(const RefusalLog&) = delete;

  /// Writes the line unless it is one too many.
  void add(unsigned uid, const std::function<void()>& write_line);

 private:
  /// Of each user who has some to be told and may write a line; with `all`, of each who has some.
  std::map<unsigned, u64> take_lost(bool all) CLOISTER_REQUIRES(lock_);
  void serve();

  const TellLost tell_lost_;
  const std::chrono::milliseconds quiet_;
  Mutex lock_;
  Condition changed_;
  std::map<unsigned, LineLimit> users_ CLOISTER_GUARDED_BY(lock_);
  bool lost_ CLOISTER_GUARDED_BY(lock_) = false, stopping_ CLOISTER_GUARDED_BY(lock_) = false;
  std::thread thread_;
};

}  // namespace cloister::toolstack
