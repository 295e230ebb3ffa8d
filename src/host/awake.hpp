// A thread that must not stay in a system call: while an Awake lives, a timer sends it a signal again and again, and
// read(2), write(2) and their like return with what was done so far, or with EINTR (signal(7)). poll(2) alone is not
// enough: who else has the same file open may fill it, empty it or change its mode in between.
#pragma once

#include <signal.h>
#include <time.h>

namespace cloister::toolstack {

/// On the thread that made it, whose waits in system calls end within 50 ms. errno stays.
class Awake {
 public:
  Awake();
  ~Awake();
  Awake(const Awake&) = delete;
  Awake& operator=(const Awake&) = delete;

 private:
  sigset_t before_{};
  timer_t timer_{};
  bool made_ = false;
};

}  // namespace cloister::toolstack
