#include "hypervisor/devices/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace cloister::hypervisor {
namespace {

constexpr u64 sector_bytes = 512, most_block = 4096;  // Linux's driver takes a page at most

/// transfer(done) does some of it: so many bytes, or -1.
template <class Transfer>
bool all_of(u64 bytes, Transfer transfer) {
  for (u64 done = 0; done < bytes;) {
    const ssize_t some = transfer(done);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0) return false;
    done += static_cast<u64>(some);
  }
  return true;
}

bool change(int file, int how, u64 offset, u64 length) {
  if (length == 0) return true;
  int done = 0;
  do {
    done = ::fallocate(file, how | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (done != 0 && errno == EINTR);
  return done == 0;
}

}  // namespace

// Where a seek to its end leads is how long it is, of a file and of a block device alike: a call that a sandbox allows.
// Only a block device says what its sectors are.
tl::expected<std::shared_ptr<RawDisk>, std::string> RawDisk::create(Fd file) {
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) return tl::unexpected(std::string(std::strerror(errno)));
  int found = 0;
  const Kind kind = ::ioctl(file.get(), BLKSSZGET, &found) == 0 ? Kind::block_device : Kind::file;
  const u64 block = kind == Kind::file ? sector_bytes : static_cast<u64>(found);
  if (block < sector_bytes || block > most_block || !std::has_single_bit(block))
    return tl::unexpected(fmt::format("found sectors of {} bytes, expected {} to {}", found, sector_bytes, most_block));
  const u64 bytes = static_cast<u64>(end);
  if (bytes < block)
    return tl::unexpected(fmt::format("found {} bytes, expected a sector of {} at least", bytes, block));
  return std::make_shared<RawDisk>(std::move(file), kind, bytes / block * block, static_cast<u32>(block));
}

bool RawDisk::read(u64 offset, std::span<std::byte> to) {
  return all_of(to.size(), [&](u64 done) {
    return ::pread(file_.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
  });
}

bool RawDisk::write(u64 offset, std::span<const std::byte> from) {
  return all_of(from.size(), [&](u64 done) {
    return ::pwrite(file_.get(), from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
  });
}

bool RawDisk::flush() { return ::fdatasync(file_.get()) == 0; }

// What a file system cannot punch, or a device discard, may stay: that is allowed of a discard. A hole in a device
// would have to read as zeros, which not every one that discards can do.
bool RawDisk::discard(u64 offset, u64 length) {
  if (kind_ == Kind::block_device && length != 0) {
    std::array<u64, 2> range{offset, length};
    return ::ioctl(file_.get(), BLKDISCARD, range.data()) == 0 || errno == EOPNOTSUPP;
  }
  return change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length) || errno == EOPNOTSUPP;
}

// Where the host has no quick way the driver writes the zeros itself, once it has been told so.
bool RawDisk::write_zeroes(u64 offset, u64 length, bool unmap) {
  if (unmap && change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length)) return true;
  return change(file_.get(), FALLOC_FL_ZERO_RANGE, offset, length) ||
         change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length);
}

}  // namespace cloister::hypervisor
