// A POSIX timer of the thread's own, and a signal that by default is ignored.
#include "host/awake.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace cloister::toolstack {

namespace {

constexpr long tick_ns = 50'000'000;
/// By default it is ignored, and so one that comes late does no harm.
constexpr int wake_signal = SIGURG;

void wake(int) {}

}  // namespace

Awake::Awake() {
  static const bool handled = [] {
    struct sigaction action {};
    action.sa_handler = wake;  // without SA_RESTART
    sigemptyset(&action.sa_mask);
    return ::sigaction(wake_signal, &action, nullptr) == 0;
  }();
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, wake_signal);
  ::pthread_sigmask(SIG_UNBLOCK, &one, &before_);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = wake_signal;
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  constexpr timespec tick{.tv_sec = 0, .tv_nsec = tick_ns};
  const itimerspec again{.it_interval = tick, .it_value = tick};
  made_ = handled && ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  if (made_) ::timer_settime(timer_, 0, &again, nullptr);
}

Awake::~Awake() {
  const int error = errno;
  if (made_) ::timer_delete(timer_);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  errno = error;
}

}  // namespace cloister::toolstack
