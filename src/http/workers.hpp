// Threads that do what users ask for, so that no user's work keeps another's waiting.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <thread>
#include <vector>

#include "host/mutex.hpp"

namespace cloister::toolstack {

/// Root, or who runs this very process: nobody else's numbers keep it out.
bool is_privileged(unsigned uid);

class Workers {
 public:
  struct Limits {
    unsigned threads = 16;
    unsigned of_a_user = 8;   ///< jobs of a user at once
    unsigned privileged = 4;  ///< threads that do privileged users' jobs alone
  };
  /// Throws std::system_error if the host does not give the threads.
  explicit Workers(const Limits& limits);
  /// Waits for every job.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Any thread. Jobs of a user begin in their order; a job throws nothing.
  void add(unsigned uid, std::function<void()> job);

 private:
  struct Job {
    unsigned uid;
    std::function<void()> work;
  };
  void work();
  void end();
  std::list<Job>::iterator next() CLOISTER_REQUIRES(lock_);

  const Limits limits_;
  Mutex lock_;
  Condition changed_;
  std::list<Job> waiting_ CLOISTER_GUARDED_BY(lock_);
  std::map<unsigned, unsigned> running_ CLOISTER_GUARDED_BY(lock_);  ///< by user
  unsigned others_running_ CLOISTER_GUARDED_BY(lock_) = 0;           ///< of users without privilege
  bool ending_ CLOISTER_GUARDED_BY(lock_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cloister::toolstack
