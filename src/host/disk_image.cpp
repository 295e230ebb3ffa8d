// As in QEMU the locks are taken first, and others' looked for then: of two who come at once neither is missed.
#include "host/disk_image.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "arch/try.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

/// QEMU's permissions of a disk's user, by their bits (its include/block/block-common.h).
enum DiskPermission : off_t { consistent_read = 0, write_data = 1, resize = 3 };
constexpr off_t used_base = 100, unshared_base = 200, most_permissions = 64;

std::vector<DiskPermission> used(DiskUse use) {
  return use == DiskUse::write ? std::vector{consistent_read, write_data} : std::vector{consistent_read};
}
constexpr DiskPermission unshared[] = {write_data, resize};

struct flock lock_of(short type, off_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

tl::unexpected<DiskError> disk_failed(const char* what) {
  return tl::unexpected(DiskError{std::string(what) + ": " + std::strerror(errno)});
}

/// Why there is no lock: the system's error, or none if it is somebody else's.
using Locked = tl::expected<void, std::string>;
constexpr const char* somebodys = "somebody else uses it";

tl::unexpected<std::string> lock_failed(const char* what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

Locked take_lock(int fd, off_t byte) {
  struct flock lock = lock_of(F_RDLCK, byte);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) return tl::unexpected(std::string(somebodys));
  return lock_failed("it cannot be locked");
}

/// Whether nobody else has a lock there.
tl::expected<bool, std::string> is_free(int fd, off_t byte) {
  struct flock lock = lock_of(F_WRLCK, byte);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) return lock_failed("its locks cannot be seen");
  return lock.l_type == F_UNLCK;
}

Locked look_for_lock(int fd, off_t byte) {
  if (!TRY(is_free(fd, byte))) return tl::unexpected(std::string(somebodys));
  return {};
}

Locked take_all_locks(int fd, DiskUse use) {
  for (const DiskPermission permission : used(use)) TRY(take_lock(fd, used_base + permission));
  for (const DiskPermission permission : unshared) TRY(take_lock(fd, unshared_base + permission));
  for (const DiskPermission permission : used(use)) TRY(look_for_lock(fd, unshared_base + permission));
  for (const DiskPermission permission : unshared) TRY(look_for_lock(fd, used_base + permission));
  return {};
}

/// Some kernels open for writing what can only be read. None opens a device exclusively that is mounted, or a part of
/// another one (open(2), O_EXCL).
tl::expected<void, DiskError> check_device(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode)) return {};
  if (is_read_only_device(fd)) return tl::unexpected(DiskError{read_only_device});
  const Fd alone(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK));
  if (alone || errno != EBUSY) return {};
  return tl::unexpected(
      DiskError{"the host itself uses it: lsblk(8) shows where it is mounted, or what it is a part of"});
}

}  // namespace

bool is_read_only_device(int fd) {
  int read_only = 0;
  return ::ioctl(fd, BLKROGET, &read_only) == 0 && read_only != 0;
}

tl::expected<void, DiskError> check_disk(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return disk_failed("it cannot be looked at");
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) return {};
  return tl::unexpected(DiskError{"neither a regular file nor a block device"});
}

tl::expected<void, std::string> take_disk_locks(int fd, DiskUse use) {
  auto taken = take_all_locks(fd, use);
  if (!taken) give_disk_locks(fd);
  return taken;
}

void give_disk_locks(int fd) {
  for (const off_t base : {used_base, unshared_base}) {
    struct flock locks = lock_of(F_UNLCK, base);
    locks.l_len = most_permissions;
    ::fcntl(fd, F_OFD_SETLK, &locks);
  }
}

tl::expected<u64, std::string> mark_disk(int fd, u64 chance) {
  const u64 byte = first_mark + chance % (last_mark - first_mark);
  TRY(take_lock(fd, static_cast<off_t>(byte)));
  return byte;
}

// Who has locked all of a file has not marked it.
tl::expected<bool, std::string> has_mark(int fd, u64 byte) {
  if (byte < first_mark || byte > last_mark) return false;
  const auto place = static_cast<off_t>(byte);
  return !TRY(is_free(fd, place)) && TRY(is_free(fd, place - 1)) && TRY(is_free(fd, place + 1));
}

tl::expected<void, DiskError> lock_disk(int fd, DiskUse use) {
  if (const auto taken = take_disk_locks(fd, use); !taken)
    return tl::unexpected(DiskError{taken.error(), taken.error() == somebodys ? identity_of_disk(fd) : std::string()});
  return use == DiskUse::write ? check_device(fd) : tl::expected<void, DiskError>();
}

tl::expected<void, DiskError> lock_disk_soon(int fd, DiskUse use) {
  constexpr int tries = 20;
  constexpr std::chrono::milliseconds between{100};
  auto locked = lock_disk(fd, use);
  for (int i = 0; i < tries && !locked && !locked.error().in_use.empty(); ++i) {
    std::this_thread::sleep_for(between);
    locked = lock_disk(fd, use);
  }
  return locked;
}

tl::expected<Fd, DiskError> open_disk(const std::string& path, DiskUse use) {
  // Without waiting for a pipe's other end.
  const int access = use == DiskUse::write ? O_RDWR : O_RDONLY;
  Fd fd(::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    const int why = errno;
    const Fd reading(access == O_RDWR ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1);
    return tl::unexpected(
        DiskError{reading && is_read_only_device(reading.get()) ? read_only_device : std::strerror(why)});
  }
  TRY(check_disk(fd.get()));
  return fd;
}

std::string identity_of_disk(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return {};
  if (S_ISBLK(status.st_mode)) return fmt::format("block {}:{}", major(status.st_rdev), minor(status.st_rdev));
  return fmt::format("file {}:{}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
}

std::string in_use_by_stranger(const std::string& path) {
  return fmt::format("another program uses it: `fuser -v {}` or lslocks(8) finds it", cut_path(path));
}

}  // namespace cloister::toolstack
