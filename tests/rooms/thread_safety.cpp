// What clang must find in uses of host/mutex.hpp, and what it must accept. Never linked: clang's -verify holds what it
// says against the comments (unit.thread_safety).
#include "host/mutex.hpp"

namespace cloister {

class Planted {
 public:
  int read_without() {
    return exclusive_;  // expected-error {{reading variable 'exclusive_' requires holding mutex 'mutex_'}}
  }
  void write_without() {
    exclusive_ = 1;  // expected-error {{writing variable 'exclusive_' requires holding mutex 'mutex_' exclusively}}
  }
  int call_without() {
    return held();  // expected-error {{calling function 'held' requires holding mutex 'mutex_' exclusively}}
  }
  void call_with() {
    const MutexLock lock(mutex_);
    takes_it();  // expected-error {{cannot call function 'takes_it' while mutex 'mutex_' is held}}
  }
  void after_unlock() {
    MutexLock lock(mutex_);
    exclusive_ = 1;
    lock.unlock();
    exclusive_ = 2;  // expected-error {{writing variable 'exclusive_' requires holding mutex 'mutex_' exclusively}}
  }
  void apart() {
    const MutexLock lock(mutex_);
    {
      const MutexUnlock without(mutex_);
      exclusive_ = 1;  // expected-error {{writing variable 'exclusive_' requires holding mutex 'mutex_' exclusively}}
      takes_it();
    }
    exclusive_ = 2;
  }
  void wait_without() {
    // expected-error@+1 {{requires holding mutex 'mutex_' exclusively}}
    changed_.wait(mutex_, [this]() CLOISTER_REQUIRES(mutex_) { return exclusive_ != 0; });
  }
  bool waits() {
    const MutexLock lock(mutex_);
    changed_.wait_until(mutex_, {});
    return changed_.wait_for(mutex_, std::chrono::seconds(0),
                             [this]() CLOISTER_REQUIRES(mutex_) { return exclusive_ != 0; });
  }
  void write_what_is_shared() {
    const SharedLock lock(door_);
    shared_ = 1;  // expected-error {{writing variable 'shared_' requires holding mutex 'door_'}}
  }
  int read_what_is_shared() {
    const SharedLock lock(door_);
    return shared_;
  }
  void write_alone() {
    const ExclusiveLock lock(door_);
    shared_ = 1;
  }
  int of_another(Planted& other) {
    const MutexLock lock(mutex_);
    return other.exclusive_;  // expected-error {{requires holding mutex 'other.mutex_'}} expected-note {{'mutex_'}}
  }
  int of_another_that_shares_it(const Planted& other) {
    const MutexLock lock(mutex_);
    shares_mutex(other);
    return other.exclusive_;
  }

 private:
  void shares_mutex(const Planted& other) CLOISTER_REQUIRES(mutex_) CLOISTER_ASSERT_CAPABILITY(other.mutex_) {}
  int held() CLOISTER_REQUIRES(mutex_) { return exclusive_; }
  void takes_it() CLOISTER_EXCLUDES(mutex_) { const MutexLock lock(mutex_); }

  Mutex mutex_;
  Condition changed_;
  int exclusive_ CLOISTER_GUARDED_BY(mutex_) = 0;
  SharedMutex door_;
  int shared_ CLOISTER_GUARDED_BY(door_) = 0;
};

}  // namespace cloister
