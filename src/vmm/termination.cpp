// The handler writes to an eventfd, which counts. A signalfd would want the signal blocked in every thread.
#include "vmm/termination.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace cloister::toolstack {

namespace {

std::atomic<int> handler_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);

void on_termination(int) {
  const int before = errno;
  const eventfd_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(handler_fd, &one, sizeof one);
  errno = before;
}

void handle(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

Termination::Termination() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  handler_fd = wake_.get();
  handle(on_termination);
}

Termination::~Termination() {
  handle(SIG_DFL);
  handler_fd = -1;
}

unsigned Termination::take() {
  eventfd_t count = 0;
  return ::eventfd_read(wake_.get(), &count) == 0 ? static_cast<unsigned>(count) : 0;
}

}  // namespace cloister::toolstack
