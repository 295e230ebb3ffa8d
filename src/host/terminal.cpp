// Raw mode with a way back, and the thread that looks for Ctrl-].
#include "host/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "host/awake.hpp"
#include "host/held_keys.hpp"
#include "host/threads.hpp"

namespace cloister::toolstack {

namespace {

// What a handler needs; written only while no handler is installed.
termios saved_mode, raw_mode;
int saved_fd = -1;
std::string_view greeting, farewell;

constexpr std::array fatal_signals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
/// All others whose default ends a process (signal(7)), but those of real time.
constexpr std::array ending_signals = {SIGHUP,  SIGINT,  SIGQUIT,   SIGTERM, SIGPIPE, SIGALRM,
                                       SIGUSR1, SIGUSR2, SIGXCPU,   SIGXFSZ, SIGPROF, SIGVTALRM,
                                       SIGIO,   SIGPWR,  SIGSTKFLT, SIGTRAP, SIGSYS};

/// In the background, changing the mode would stop the process.
bool in_foreground() { return ::tcgetpgrp(saved_fd) == ::getpgrp(); }

// A screen that cannot be written to is not worth waiting for.
void write_to_screen(std::string_view text) {
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) return;
}

void make_raw() {
  if (!in_foreground()) return;
  ::tcsetattr(saved_fd, TCSANOW, &raw_mode);
  write_to_screen(greeting);
}

void restore() {
  if (!in_foreground()) return;
  write_to_screen(farewell);
  ::tcsetattr(saved_fd, TCSANOW, &saved_mode);
}

void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

/// Returns to the fault, which then ends the process: the handler is reset when it is entered.
void restore_and_die(int) { restore(); }

/// The signal comes again when this returns, and finds its default.
void restore_and_end(int number) {
  restore();
  ::raise(number);
}

/// Stops as if there were no handler, and goes on where the process is continued.
void restore_and_stop(int number) {
  const int error = errno;
  restore();
  handle(number, SIG_DFL, 0);
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, number);
  ::raise(number);
  ::pthread_sigmask(SIG_UNBLOCK, &one, &before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  handle(number, restore_and_stop, SA_RESTART);
  // A process that nobody could continue does not stop.
  make_raw();
  errno = error;
}

/// Also after a SIGSTOP, or from the background to the foreground.
void make_raw_again(int) {
  const int error = errno;
  make_raw();
  errno = error;
}

/// Whoever has a handler of their own sees to a way back by themselves, and what is ignored stays so.
bool has_default(int number) {
  struct sigaction action {};
  return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_DFL;
}

}  // namespace

RawTerminal::RawTerminal(int fd, std::string_view at_begin, std::string_view at_end) {
  if (::isatty(fd) == 0 || ::tcgetpgrp(fd) != ::getpgrp() || ::tcgetattr(fd, &saved_mode) != 0) return;
  saved_fd = fd;
  greeting = at_begin;
  farewell = at_end;
  raw_mode = saved_mode;
  ::cfmakeraw(&raw_mode);
  raw_mode.c_oflag = saved_mode.c_oflag;
  const auto take = [&](int number, void (*handler)(int), int flags) {
    if (!has_default(number)) return;
    handle(number, handler, flags);
    taken_.push_back(number);
  };
  constexpr int once = static_cast<int>(SA_RESETHAND);
  for (const int number : fatal_signals) take(number, restore_and_die, once);
  for (const int number : ending_signals) take(number, restore_and_end, once);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) take(number, restore_and_end, once);
  take(SIGTSTP, restore_and_stop, SA_RESTART);
  take(SIGCONT, make_raw_again, SA_RESTART);
  if (::tcsetattr(fd, TCSANOW, &raw_mode) != 0) return;
  fd_ = fd;
  write_to_screen(greeting);
}

RawTerminal::~RawTerminal() {
  if (saved_fd < 0) return;
  if (fd_ >= 0) restore();
  for (const int number : taken_) handle(number, SIG_DFL, 0);
  saved_fd = -1;
}

KeyPump::KeyPump(int terminal, StopSource& stop) : wake_(::eventfd(0, EFD_CLOEXEC)) {
  int ends[2];
  if (!wake_ || ::pipe2(ends, O_CLOEXEC) != 0) {
    spdlog::error("cloister: no keyboard: cannot make a pipe");
    return;
  }
  read_end_ = Fd(ends[0]);
  write_end_ = Fd(ends[1]);
  // This end alone: the other one may become a program's standard input.
  ::fcntl(write_end_.get(), F_SETFL, O_NONBLOCK);
  // Signals are for the domain's thread, whose waits they end.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = start_thread([this, terminal, &stop] { pump(terminal, stop); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

KeyPump::~KeyPump() {
  if (!thread_.joinable()) return;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void KeyPump::pump(int terminal, StopSource& stop) {
  std::array<u8, 4096> keys;
  HeldKeys held;
  bool typing = true;
  while (typing || !held.empty()) {
    std::array<pollfd, 3> wait{pollfd{wake_.get(), POLLIN, 0}, pollfd{typing ? terminal : -1, POLLIN, 0},
                               pollfd{held.empty() ? -1 : write_end_.get(), POLLOUT, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (wait[0].revents != 0) return;
    if (wait[1].revents != 0) {
      const ssize_t got = [&] {
        // A shell that takes the terminal back in between makes of keys that were there a line without its end.
        const Awake awake;
        return ::read(terminal, keys.data(), keys.size());
      }();
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      typing = got > 0;
      const auto end = keys.begin() + std::max<ssize_t>(got, 0);
      const auto escape = std::find(keys.begin(), end, escape_key);
      if (escape != end) {
        stop.request();
        spdlog::info("cloister: Ctrl-]: ending the domain");
        return;
      }
      held.add({keys.begin(), end});
    }
    if (!held.write_to(write_end_.get())) return;
  }
}

}  // namespace cloister::toolstack
