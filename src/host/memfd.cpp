// Seals (fcntl(2), F_ADD_SEALS) are what makes a memfd from a stranger safe to map. Its size is where its end lies: a
// VMM's filter has no fstat(), which the C library makes a look-up by name.
#include "host/memfd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace cloister::toolstack {

namespace {
constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;
}

Fd sealed_memfd(const char* name, std::span<const u8> bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || !write_all(fd.get(), bytes) || ::lseek(fd.get(), 0, SEEK_SET) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return Fd();
  return fd;
}

bool is_sealed_memfd(int fd) {
  constexpr int wanted = size_seals | F_SEAL_WRITE;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & wanted) == wanted;
}

Fd fixed_memfd(const char* name, std::size_t bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0)
    return Fd();
  return fd;
}

bool is_fixed_memfd(int fd, std::size_t bytes) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & size_seals) == size_seals && (seals & F_SEAL_WRITE) == 0 &&
         ::lseek(fd, 0, SEEK_END) == static_cast<off_t>(bytes) && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

SharedMapping::SharedMapping(int fd, std::size_t bytes) {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return;
  data_ = data;
  bytes_ = bytes;
}

SharedMapping::~SharedMapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace cloister::toolstack
