// A file or block device that is a disk, and the locks that keep others from it. They are those of QEMU's tools (its
// block/file-posix.c), so that neither writes what the other uses: read locks on a byte for each permission that is
// used (from 100 on), and on one for each that is not shared (from 200 on); who finds another's lock on the opposite
// byte has met one who does not agree. They belong to the open file, go with its descriptor to other processes, and
// end with the last of them (fcntl(2), "Open file description locks").
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

enum class DiskUse : bool { read, write };

struct DiskError {
  std::string message;
  std::string in_use = {};  ///< what it is (identity_of_disk), if somebody else's locks are in the way
  std::string below = {};   ///< it is this backing file that they are in the way of, and not the disk's own
};

/// It is a block device that nobody may write, whatever his rights are.
bool is_read_only_device(int fd);
inline constexpr const char* read_only_device = "found a device that can only be read, expected access=ro";

/// A regular file or a block device, whoever opened it; nobody else's locks matter.
tl::expected<void, DiskError> check_disk(int fd);
/// Locks it until the last descriptor of it is closed. For reading others may read it too; for writing it is this
/// one's alone, and a device is one that can be written and that the host itself does not use.
tl::expected<void, DiskError> lock_disk(int fd, DiskUse use);
/// The same of one whose server may still be ending with its last domain (nbd_server.hpp): it waits a little for that.
tl::expected<void, DiskError> lock_disk_soon(int fd, DiskUse use);
/// The locks alone, of a disk that has been checked, with calls of fcntl(2) only. The error says what is in the way;
/// then it has none of them.
tl::expected<void, std::string> take_disk_locks(int fd, DiskUse use);
/// They are anybody's.
void give_disk_locks(int fd);

/// Whoever has a disk open has a byte of it locked, far behind its end, that chance has chosen: who finds that byte
/// locked in a file of the same name has the same file, and its locks are the other one's, too, on whatever machine.
inline constexpr u64 first_mark = u64{1} << 61, last_mark = (u64{1} << 62) - 1;
struct DiskMark {
  u64 byte = 0;
  u64 bytes = 0;  ///< of the disk
  bool operator==(const DiskMark&) const = default;
};
/// chance: any number. Until the last descriptor is closed. The byte.
tl::expected<u64, std::string> mark_disk(int fd, u64 chance);
/// Somebody else, with another open file, has marked it there. An error: its locks cannot be seen.
tl::expected<bool, std::string> has_mark(int fd, u64 byte);

/// Opens and checks a path of the caller's own. A file that is not there is not made.
tl::expected<Fd, DiskError> open_disk(const std::string& path, DiskUse use);

/// The same for all names and descriptors of it; empty: not known.
std::string identity_of_disk(int fd);

/// Who else uses it, when that is none of ours: how a person finds it.
std::string in_use_by_stranger(const std::string& path);

}  // namespace cloister::toolstack
