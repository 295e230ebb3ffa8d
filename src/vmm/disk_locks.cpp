// Calls that a VMM's sandbox allows, and no others.
#include "vmm/disk_locks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "arch/try.hpp"
#include "hypervisor/devices/host_random.hpp"

namespace cloister::toolstack {

namespace {

tl::expected<DiskMark, std::string> mark_file(int file) {
  u64 chance = 0;
  if (!hypervisor::fill_with_random(std::as_writable_bytes(std::span(&chance, 1))))
    return tl::unexpected(std::string("no random bytes"));
  const off_t end = ::lseek(file, 0, SEEK_END);
  if (end < 0) return tl::unexpected(std::string(std::strerror(errno)));
  return DiskMark{.byte = TRY(mark_disk(file, chance)), .bytes = static_cast<u64>(end)};
}

/// By the call that looks up no name.
tl::expected<DiskTime, std::string> time_of(int file) {
  struct stat status {};
  if (::syscall(SYS_fstat, file, &status) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  return DiskTime{status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

/// A kernel's times of files stand still for so long: who writes after that is seen.
constexpr std::chrono::milliseconds tick{10};

}  // namespace

DiskLocks::DiskLocks(const std::vector<DiskConfig>& disks, int first, bool comes) : has_(!comes || disks.empty()) {
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const DiskConfig& config = disks[i];
    Disk disk{.vdev = config.vdev, .use = config.read_only ? DiskUse::read : DiskUse::write};
    if (const std::string stays = why_disk_stays(config); !stays.empty()) {
      disk.mark = tl::unexpected(stays);
    } else {
      disk.file = Fd(::fcntl(first + static_cast<int>(i), F_DUPFD_CLOEXEC, 0));
      disk.mark = disk.file ? mark_file(disk.file.get()) : tl::unexpected(std::string(std::strerror(errno)));
    }
    disks_.push_back(std::move(disk));
  }
}

std::vector<DiskLocks::Marked> DiskLocks::marks() const {
  std::vector<Marked> marks;
  for (const Disk& disk : disks_) marks.push_back({disk.vdev, disk.mark});
  return marks;
}

std::string DiskLocks::why_they_stay() const {
  for (const Disk& disk : disks_) {
    if (!disk.mark) return fmt::format("its disk {}: {}", disk.vdev, disk.mark.error());
  }
  return "";
}

DiskLocks::Done DiskLocks::sync() const {
  for (const Disk& disk : disks_) {
    if (disk.use == DiskUse::write && ::fdatasync(disk.file.get()) != 0)
      return tl::unexpected(
          fmt::format("its disk {}: what it was written is not on the disk: {}", disk.vdev, std::strerror(errno)));
  }
  return {};
}

DiskLocks::Done DiskLocks::give() {
  TRY(sync());
  const bool writes = std::ranges::any_of(disks_, [](const Disk& disk) { return disk.use == DiskUse::write; });
  if (writes) std::this_thread::sleep_for(tick);
  for (Disk& disk : disks_) disk.left = TRY(time_of(disk.file.get()));
  has_ = false;
  for (const Disk& disk : disks_) give_disk_locks(disk.file.get());
  return {};
}

DiskLocks::Done DiskLocks::take() {
  if (has_) return {};
  for (const Disk& disk : disks_) {
    auto taken = take_disk_locks(disk.file.get(), disk.use);
    if (taken) taken = check(disk);
    if (taken) continue;
    for (const Disk& each : disks_) give_disk_locks(each.file.get());
    return tl::unexpected(fmt::format("its disk {}: {}", disk.vdev, taken.error()));
  }
  has_ = true;
  return {};
}

DiskLocks::Done DiskLocks::check(const Disk& disk) const {
  if (!disk.left || TRY(time_of(disk.file.get())) == *disk.left) return {};
  return tl::unexpected(std::string(
      "somebody has written it since it was given up, and its guest must not: destroy the domain, and it can "
      "start anew from its disk"));
}

DiskLocks::Done DiskLocks::take_soon() {
  constexpr int tries = 20;
  constexpr std::chrono::milliseconds between{100};
  auto taken = take();
  for (int i = 0; i < tries && !taken; ++i) {
    std::this_thread::sleep_for(between);
    taken = take();
  }
  return taken;
}

}  // namespace cloister::toolstack
