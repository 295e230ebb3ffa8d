// A timer sends this thread a signal again and again while it is in write(2), which then returns with what was written
// so far, or with EINTR (signal(7)). poll(2) alone is not enough: who else writes to the same pipe may fill it in
// between.
#include "host/stoppable_write.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace cloister::toolstack {

namespace {

constexpr int tick_ms = 50;
/// By default it is ignored, and so one that comes late does no harm.
constexpr int wake_signal = SIGURG;

void wake(int) {}

/// While it lives, this thread's waits in system calls end within a tick.
class Awake {
 public:
  Awake() {
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
    constexpr timespec tick{.tv_sec = 0, .tv_nsec = tick_ms * 1'000'000};
    const itimerspec again{.it_interval = tick, .it_value = tick};
    made_ = handled && ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
    if (made_) ::timer_settime(timer_, 0, &again, nullptr);
  }
  ~Awake() {
    if (made_) ::timer_delete(timer_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Awake(const Awake&) = delete;
  Awake& operator=(const Awake&) = delete;

 private:
  sigset_t before_{};
  timer_t timer_{};
  bool made_ = false;
};

/// Whether there is a chance to write within the time; an error too is one, which write(2) will say.
bool can_write(int fd, int wait_ms) {
  pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&room, 1, wait_ms) > 0;
}

}  // namespace

Written write_unless(const std::function<bool()>& enough, int fd, std::span<const u8> bytes) {
  while (!bytes.empty()) {
    const bool last = enough();
    if (!can_write(fd, last ? 0 : tick_ms)) {
      if (last) return Written::given_up;
      continue;
    }
    ssize_t written;
    int error;
    {
      const Awake awake;
      written = ::write(fd, bytes.data(), bytes.size());
      error = errno;
    }
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (error != EINTR && error != EAGAIN) {
      errno = error;
      return Written::failed;
    } else if (last) {
      return Written::given_up;
    }
  }
  return Written::all;
}

}  // namespace cloister::toolstack
