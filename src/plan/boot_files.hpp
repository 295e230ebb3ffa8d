// What a domain with a bootloader starts from: kernel, ramdisk and command line, as the process says that looks at its
// disk (boot/reader.hpp). A guest owns that disk, and may have taken that process over: what it says is looked at here.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/domain_config.hpp"
#include "host/fd.hpp"
#include "plan/images.hpp"

namespace cloister::toolstack {

struct BootFiles {
  Fd kernel{}, ramdisk{};                     ///< sealed memfds; the second invalid: there is none
  std::string kernel_path{}, ramdisk_path{};  ///< on the disk, for people
  std::string cmdline{};
};

/// A kernel that is longer cannot be used, nor can a ramdisk: while the guest starts, a copy of it stands beside its
/// RAM.
u64 most_boot_kernel(const DomainConfig& config);
u64 most_boot_ramdisk(const DomainConfig& config);

/// Asks that process, by our end of its connection. It may take a minute.
tl::expected<BootFiles, std::string> ask_boot_reader(int connection);
/// Puts them among the images.
tl::expected<void, std::string> take_boot_files(const DomainConfig& config, const BootFiles& files, Images& images);

/// An error of these, at the key.
Diagnostic cannot_boot(const DomainConfig& config, const std::string& why);

}  // namespace cloister::toolstack
