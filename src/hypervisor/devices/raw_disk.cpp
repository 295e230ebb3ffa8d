#include "hypervisor/devices/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cloister::hypervisor {
namespace {

constexpr u64 sector_bytes = 512;

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
tl::expected<std::shared_ptr<RawDisk>, std::string> RawDisk::create(Fd file) {
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) return tl::unexpected(std::string(std::strerror(errno)));
  const u64 bytes = static_cast<u64>(end);
  if (bytes < sector_bytes)
    return tl::unexpected(fmt::format("found {} bytes, expected a sector of {} at least", bytes, sector_bytes));
  return std::make_shared<RawDisk>(std::move(file), bytes / sector_bytes * sector_bytes);
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

// What a file system cannot punch may stay: that is allowed of a discard.
bool RawDisk::discard(u64 offset, u64 length) {
  return change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length) || errno == EOPNOTSUPP;
}

// Where the host has no quick way the driver writes the zeros itself, once it has been told so.
bool RawDisk::write_zeroes(u64 offset, u64 length, bool unmap) {
  if (unmap && change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length)) return true;
  return change(file_.get(), FALLOC_FL_ZERO_RANGE, offset, length) ||
         change(file_.get(), FALLOC_FL_PUNCH_HOLE, offset, length);
}

}  // namespace cloister::hypervisor
