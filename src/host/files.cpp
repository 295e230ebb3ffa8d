#include "host/files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cloister::toolstack {

Fd open_outside_processes(const std::string& path, u64 flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
}

Fd open_beneath(int folder, const std::string& path, u64 flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, folder, path.c_str(), &how, sizeof how)));
}

tl::expected<std::size_t, std::string> read_some(int fd, std::span<u8> to) {
  while (true) {
    const ssize_t got = ::read(fd, to.data(), to.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return tl::unexpected(std::string(std::strerror(errno)));
  }
}

bool read_all(int fd, std::span<u8> to) {
  while (!to.empty()) {
    const auto got = read_some(fd, to);
    if (!got || *got == 0) return false;
    to = to.subspan(*got);
  }
  return true;
}

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
