// `bootloader` and `bootloader_args`: who finds kernel and ramdisk on the domain's first disk. It is Cloister itself,
// by the name of the program that does so for Xen, pygrub, and with that one's options.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

/// "pygrub", or the path of a program that is called so.
tl::expected<void, Diagnostic> read_bootloader(const xl::Setting& setting);
/// A list of options, or a string of them with blanks between.
tl::expected<BootloaderOptions, Diagnostic> read_bootloader_args(const xl::Setting& setting);
/// As a file has it; empty: there are none.
std::string bootloader_args_text(const BootloaderOptions& options);
/// What the keys of a configuration say of each other; `kernel` is missing without them.
tl::expected<void, Diagnostic> check_bootloader(const DomainConfig& config);

}  // namespace cloister::toolstack
