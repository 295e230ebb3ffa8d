// Sealed memfds: made, checked, mapped.
#include "silicon/memory/sealed_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace cloister::silicon {

namespace {
constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;
}

tl::expected<Fd, MemoryError> make_sealed(const char* name, u64 bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0) {
    return tl::unexpected(MemoryError::no_memory);
  }
  return fd;
}

tl::expected<Fd, MemoryError> borrow_sealed(int descriptor, u64 bytes) {
  // Only memfds have seals; no other file's size is certain to stay.
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & size_seals) != size_seals) return tl::unexpected(MemoryError::not_sealed);
  // Not fstat(), which is a look-up by name to a filter of system calls.
  if (::lseek(descriptor, 0, SEEK_END) != static_cast<off_t>(bytes)) return tl::unexpected(MemoryError::wrong_size);
  Fd fd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!fd) return tl::unexpected(MemoryError::no_memory);
  return fd;
}

tl::expected<HostMapping, MemoryError> map_sealed(const Fd& descriptor, u64 bytes) {
  if (bytes == 0) return HostMapping{nullptr, Unmapper{0}};
  void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor.get(), 0);
  if (p == MAP_FAILED) {
    const bool refused = errno == EPERM || errno == EACCES;
    return tl::unexpected(refused ? MemoryError::not_writable : MemoryError::no_memory);
  }
  return HostMapping{static_cast<u8*>(p), Unmapper{bytes}};
}

}  // namespace cloister::silicon
