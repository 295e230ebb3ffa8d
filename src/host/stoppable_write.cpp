// poll(2), and a thread that is kept awake (awake.hpp) while it is in write(2): who else writes to the same pipe may
// fill it in between.
#include "host/stoppable_write.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "host/awake.hpp"

namespace cloister::toolstack {

namespace {

constexpr int tick_ms = 50;

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
