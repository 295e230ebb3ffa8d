#include "host/files.hpp"

#include <poll.h>

#include <cerrno>

namespace cloister::toolstack {

bool write_all(int fd, std::span<const u8> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd wait{fd, POLLOUT, 0};
      ::poll(&wait, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool print(std::string_view text) {
  return write_all(STDOUT_FILENO, {reinterpret_cast<const u8*>(text.data()), text.size()});
}

}  // namespace cloister::toolstack
