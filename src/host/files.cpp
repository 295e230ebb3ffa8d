// Reading and writing descriptors to the end.
#include "host/files.hpp"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <system_error>

namespace cloister::toolstack {

namespace {
tl::unexpected<std::string> system_error(int error) {
  return tl::unexpected(std::error_code(error, std::generic_category()).message());
}
}  // namespace

tl::expected<std::vector<u8>, std::string> read_up_to(const std::string& path, u64 most) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return system_error(errno);
  return read_all(fd.get(), most);
}

tl::expected<std::vector<u8>, std::string> read_file(const std::string& path) { return read_up_to(path, longest_text); }

tl::expected<std::vector<u8>, std::string> read_all(int fd, u64 most) {
  std::vector<u8> bytes;
  constexpr std::size_t chunk = 1 << 20;
  for (std::size_t filled = 0;;) {
    bytes.resize(filled + chunk);
    const ssize_t got = ::read(fd, bytes.data() + filled, chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(errno);
    filled += static_cast<std::size_t>(got);
    if (filled > most) return tl::unexpected("it is longer than " + std::to_string(most >> 20) + " MiB");
    if (got == 0) {
      bytes.resize(filled);
      return bytes;
    }
  }
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
