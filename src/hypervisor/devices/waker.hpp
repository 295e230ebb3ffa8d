// What ends the wait of a device's thread for descriptors: an event among them (eventfd(2)), written once however often
// it is asked for until the thread has seen it.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <utility>

#include "host/fd.hpp"

namespace cloister::hypervisor {

class Waker {
 public:
  /// An eventfd that does not block.
  explicit Waker(Fd event) : event_(std::move(event)) {}
  pollfd to_poll() const { return {.fd = event_.get(), .events = POLLIN, .revents = 0}; }
  /// The thread has waited, and this came of it.
  void polled(short happened) {
    if (happened == 0) return;
    eventfd_t count = 0;
    ::eventfd_read(event_.get(), &count);
    woken_ = false;
  }
  /// Threads: any.
  void wake() {
    if (!woken_.exchange(true)) ::eventfd_write(event_.get(), 1);
  }

 private:
  const Fd event_;
  std::atomic<bool> woken_{false};
};

}  // namespace cloister::hypervisor
