// Raw mode with a way back, and the thread that looks for Ctrl-].
#include "toolstack/terminal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

namespace cloister::toolstack {

namespace {

// What a handler of fatal signals needs; written only while no handler is installed.
termios saved_mode;
int saved_fd = -1;

constexpr std::array fatal_signals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

/// Returns to the fault, which then ends the process: the handler is reset when it is entered.
void restore_and_die(int) { ::tcsetattr(saved_fd, TCSANOW, &saved_mode); }

void handle_fatal_signals(bool on) {
  for (const int number : fatal_signals) {
    struct sigaction action {};
    if (on) {
      action.sa_handler = restore_and_die;
      action.sa_flags = static_cast<int>(SA_RESETHAND);
    } else {
      action.sa_handler = SIG_DFL;
    }
    sigemptyset(&action.sa_mask);
    ::sigaction(number, &action, nullptr);
  }
}

}  // namespace

RawTerminal::RawTerminal(int fd) {
  // In the background, changing the mode would stop the process.
  if (::isatty(fd) == 0 || ::tcgetpgrp(fd) != ::getpgrp() || ::tcgetattr(fd, &saved_mode) != 0) return;
  saved_fd = fd;
  termios raw = saved_mode;
  ::cfmakeraw(&raw);
  raw.c_oflag = saved_mode.c_oflag;
  handle_fatal_signals(true);
  if (::tcsetattr(fd, TCSANOW, &raw) == 0) fd_ = fd;
}

RawTerminal::~RawTerminal() {
  if (saved_fd < 0) return;
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &saved_mode);
  handle_fatal_signals(false);
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
  // Signals are for the domain's thread, whose waits they end.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread([this, terminal, &stop] { pump(terminal, stop); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

KeyPump::~KeyPump() {
  if (!thread_.joinable()) return;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void KeyPump::pump(int terminal, StopSource& stop) {
  std::array<pollfd, 2> wait{pollfd{terminal, POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
  std::array<u8, 256> keys;
  while (true) {
    if (::poll(wait.data(), wait.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (wait[1].revents != 0) return;
    const ssize_t got = ::read(terminal, keys.data(), keys.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const auto end = keys.begin() + got;
    const auto escape = std::find(keys.begin(), end, escape_key);
    if (!write_all(write_end_.get(), {keys.begin(), escape})) return;
    if (escape != end) {
      spdlog::info("cloister: Ctrl-]: ending the domain");
      stop.request();
      return;
    }
  }
}

}  // namespace cloister::toolstack
