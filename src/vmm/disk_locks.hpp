// The locks of a domain's disks (host/disk_image.hpp) when it moves to another machine that has the same files. Its
// source gives them up when its guest stands still and all that it has written is on the disk; its target has them
// before it may be let run; and a source that goes on has them again before its guest does. So who writes has the
// locks, and that is never both; and a source whose disk somebody has written meanwhile does not get them again.
//
// Threads: one; what is marked may be asked for by any.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/disk_image.hpp"
#include "plan/storages.hpp"

namespace cloister::toolstack {

/// When a file was written last.
struct DiskTime {
  i64 seconds = 0, nanoseconds = 0;
  bool operator==(const DiskTime&) const = default;
};

class DiskLocks {
 public:
  using Done = tl::expected<void, std::string>;

  DiskLocks() = default;
  /// first: the descriptor of the first one, which those of the others follow in the configuration's order; borrowed.
  /// Marks them. comes: from elsewhere, where they are locked still.
  DiskLocks(const std::vector<DiskConfig>& disks, int first, bool comes = false);

  struct Marked {
    std::string vdev;
    tl::expected<DiskMark, std::string> mark;  ///< or why it has none, and stays
  };
  std::vector<Marked> marks() const;
  /// Empty: they can go on elsewhere.
  std::string why_they_stay() const;

  /// What was written by now is on the disk.
  Done sync() const;
  /// Likewise, and the locks are anybody's. Nobody writes here until take().
  Done give();
  /// All of them, or none: then the error says why. Those that it has it keeps. None, either, if somebody has written
  /// one since give(): what a guest has in its memory of it is no longer so.
  Done take();
  /// Likewise, with a little patience for whoever gives them up at this moment.
  Done take_soon();
  bool has() const { return has_; }

 private:
  struct Disk {
    std::string vdev;
    DiskUse use = DiskUse::read;
    Fd file{};  ///< of one that can go on elsewhere
    tl::expected<DiskMark, std::string> mark = DiskMark{};
    std::optional<DiskTime> left{};  ///< as it was when its locks were given up
  };
  Done check(const Disk& disk) const;
  std::vector<Disk> disks_;
  bool has_ = true;
};

}  // namespace cloister::toolstack
