// What a VMM gives up before it looks at anything that a stranger wrote: the configuration, the kernel, the guest.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// For the process, for good. All that it needs from outside is open (launch_fd). The error says what could not be
/// given up: then nothing may run.
tl::expected<void, std::string> enter_sandbox();

}  // namespace cloister::toolstack
