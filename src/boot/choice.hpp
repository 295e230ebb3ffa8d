// Which kernel a disk starts from, with what ramdisk and command line: what GRUB's menu starts by itself, or, where
// there is no menu, the newest of the kernels in /boot by the versions in their names (as Debian names them).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "boot/ext_files.hpp"

namespace cloister::boot {

/// What is asked for beyond that.
struct Wanted {
  std::string kernel, ramdisk{};          ///< paths in the disk's file system; empty: what is found
  std::optional<u32> entry{};             ///< of the menu
  u64 most_kernel = 0, most_ramdisk = 0;  ///< bytes
  std::string format = "raw";             ///< of the image; of another one it is served (host/nbd_server.hpp)
};

struct Choice {
  std::unique_ptr<ExtFiles> files{};  ///< that have them
  std::string kernel{};
  std::vector<std::string> ramdisks{};  ///< one behind the other; none: no ramdisk
  std::string cmdline{};
};

/// Linux's own limit on x86 (COMMAND_LINE_SIZE), with its end.
inline constexpr std::size_t longest_cmdline = 2047;

/// The disk must outlive the choice.
tl::expected<Choice, std::string> choose(Disk& disk, const Wanted& wanted);

/// Whether a kernel of that version is older than one of the other.
bool is_older(std::string_view version, std::string_view other);

}  // namespace cloister::boot
