// Locks that the compiler checks: clang's thread safety analysis
// (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html, whose names these are) sees that what is guarded by a mutex
// is used with it alone. To GCC they are the standard library's and nothing more.
//
// A member says GUARDED_BY its mutex; a function that is called with it says REQUIRES, and so does a lambda, after its
// parameters. Where one mutex has two names, of which the analysis cannot know, a function that REQUIRES the first and
// ASSERTs the second tells it. It looks at no constructor and no destructor.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <utility>

#ifdef __clang__
#define CLOISTER_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define CLOISTER_THREAD_ANNOTATION(x)
#endif

#define CLOISTER_CAPABILITY(x) CLOISTER_THREAD_ANNOTATION(capability(x))
#define CLOISTER_SCOPED_CAPABILITY CLOISTER_THREAD_ANNOTATION(scoped_lockable)
#define CLOISTER_GUARDED_BY(x) CLOISTER_THREAD_ANNOTATION(guarded_by(x))
#define CLOISTER_REQUIRES(...) CLOISTER_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define CLOISTER_EXCLUDES(...) CLOISTER_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define CLOISTER_ACQUIRE(...) CLOISTER_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define CLOISTER_ACQUIRE_SHARED(...) CLOISTER_THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define CLOISTER_RELEASE(...) CLOISTER_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define CLOISTER_RELEASE_SHARED(...) CLOISTER_THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))
#define CLOISTER_RETURN_CAPABILITY(x) CLOISTER_THREAD_ANNOTATION(lock_returned(x))
#define CLOISTER_ASSERT_CAPABILITY(x) CLOISTER_THREAD_ANNOTATION(assert_capability(x))
#define CLOISTER_NO_THREAD_SAFETY_ANALYSIS CLOISTER_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace cloister {

class CLOISTER_CAPABILITY("mutex") Mutex {
 public:
  void lock() CLOISTER_ACQUIRE() { mutex_.lock(); }
  void unlock() CLOISTER_RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

/// Holds a mutex to the end of its block, or until unlock().
class CLOISTER_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CLOISTER_ACQUIRE(mutex) : mutex_(&mutex) { mutex.lock(); }
  ~MutexLock() CLOISTER_RELEASE() {
    if (mutex_ != nullptr) mutex_->unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() CLOISTER_RELEASE() { std::exchange(mutex_, nullptr)->unlock(); }

 private:
  Mutex* mutex_;
};

/// Lets go of a mutex that is held, to the end of its block.
class CLOISTER_SCOPED_CAPABILITY MutexUnlock {
 public:
  explicit MutexUnlock(Mutex& mutex) CLOISTER_RELEASE(mutex) : mutex_(mutex) { mutex_.unlock(); }
  ~MutexUnlock() CLOISTER_RELEASE() { mutex_.lock(); }  // that is how the analysis calls the end of a scope
  MutexUnlock(const MutexUnlock&) = delete;
  MutexUnlock& operator=(const MutexUnlock&) = delete;

 private:
  Mutex& mutex_;
};

/// std::condition_variable: who waits names the mutex that it holds. What `until` reads may be guarded by that mutex
/// (REQUIRES).
class Condition {
 public:
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

  template <class Until>
  void wait(Mutex& mutex, Until until) CLOISTER_REQUIRES(mutex) {
    Lent lent(mutex);
    condition_.wait(lent.lock, std::move(until));
  }
  void wait_until(Mutex& mutex, std::chrono::steady_clock::time_point time) CLOISTER_REQUIRES(mutex) {
    Lent lent(mutex);
    condition_.wait_until(lent.lock, time);
  }
  /// Whether `until` has come true.
  template <class Duration, class Until>
  bool wait_for(Mutex& mutex, const Duration& longest, Until until) CLOISTER_REQUIRES(mutex) {
    Lent lent(mutex);
    return condition_.wait_for(lent.lock, longest, std::move(until));
  }

 private:
  /// The mutex as the standard library's lock, which leaves it held.
  struct Lent {
    explicit Lent(Mutex& mutex) : lock(mutex.mutex_, std::adopt_lock) {}
    ~Lent() { lock.release(); }
    std::unique_lock<std::mutex> lock;
  };
  std::condition_variable condition_;
};

/// One that changes what is guarded, or any number of those that look.
class CLOISTER_CAPABILITY("mutex") SharedMutex {
 public:
  void lock() CLOISTER_ACQUIRE() { mutex_.lock(); }
  void unlock() CLOISTER_RELEASE() { mutex_.unlock(); }
  void lock_shared() CLOISTER_ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() CLOISTER_RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class CLOISTER_SCOPED_CAPABILITY ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& mutex) CLOISTER_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~ExclusiveLock() CLOISTER_RELEASE() { mutex_.unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class CLOISTER_SCOPED_CAPABILITY SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) CLOISTER_ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.lock_shared(); }
  ~SharedLock() CLOISTER_RELEASE() { mutex_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

}  // namespace cloister
