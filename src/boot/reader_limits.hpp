// What is taken from a process before it looks at a guest's disk.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace cloister::boot {

/// Privileges, for good, and what its owner's other processes could see of it.
tl::expected<void, std::string> give_up_boot_privileges();
/// From here on it has so much memory and time, and of system calls those of a table. With the sanitizers of addresses
/// and threads there is none of this.
tl::expected<void, std::string> enter_boot_limits(unsigned seconds = 20);

}  // namespace cloister::boot
