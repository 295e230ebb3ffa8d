// A descriptor's length is where its end lies: a VMM's filter has no fstat(). A file may grow while it is read.
#include "host/whole_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> system_error() {
  return tl::unexpected(std::error_code(errno, std::generic_category()).message());
}

std::string size_of(u64 bytes) {
  constexpr u64 mib = 1 << 20;
  return bytes % mib == 0 ? std::to_string(bytes / mib) + " MiB" : std::to_string(bytes) + " bytes";
}

}  // namespace

tl::expected<std::vector<u8>, std::string> read_within(const std::string& path, u64 most) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return system_error();
  // Which says that it is as long as a number can be.
  struct stat status {};
  if (::fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode)) return tl::unexpected(std::string("it is a folder"));
  return read_within(fd.get(), most);
}

tl::expected<std::vector<u8>, std::string> read_regular(const std::string& path, u64 most) {
  // Neither waits for a named pipe's writer nor makes a terminal ours.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  constexpr const char* other_kind = "not a regular file";
  if (!fd && errno == ENXIO) return tl::unexpected(std::string(other_kind));  // a socket
  if (!fd) return system_error();
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_error();
  if (!S_ISREG(status.st_mode)) return tl::unexpected(std::string(other_kind));
  return read_within(fd.get(), most);
}

tl::expected<std::vector<u8>, std::string> read_within(int fd, u64 most) {
  // A pipe has no offset; a file of the kernel's (/proc) says that it has no bytes.
  const off_t from = ::lseek(fd, 0, SEEK_CUR), end = from < 0 ? -1 : ::lseek(fd, 0, SEEK_END);
  if (end >= 0 && ::lseek(fd, from, SEEK_SET) != from) return system_error();
  const u64 expected = end > from ? static_cast<u64>(end - from) : 0;
  if (expected > most)
    return tl::unexpected("found " + std::to_string(expected) + " bytes, which is longer than " + size_of(most));
  constexpr u64 chunk = 1 << 20;
  std::vector<u8> bytes;
  bytes.reserve(std::max<u64>(expected + 1, 4096));
  for (std::size_t filled = 0;;) {
    // Chunks, but within what is reserved: of a file that keeps its length the last read is of one byte, and ends it.
    bytes.resize(std::max(filled + 1, std::min(filled + chunk, bytes.capacity())));
    const ssize_t got = ::read(fd, bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error();
    filled += static_cast<std::size_t>(got);
    if (filled > most) return tl::unexpected("found more than " + size_of(most));
    if (got == 0) {
      bytes.resize(filled);
      return bytes;
    }
  }
}

}  // namespace cloister::toolstack
