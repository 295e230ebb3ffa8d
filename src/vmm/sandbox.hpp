// What a VMM gives up before it looks at anything that a stranger wrote: the configuration, the kernel, the guest.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// Whether the sandbox of this library's build is whole. The sanitizers of addresses and threads open /proc, handle
/// signals and trace their own process: with them a VMM keeps its user, its root and all system calls.
bool sandbox_is_whole();

/// For the process, for good, and before it has a second thread. All that it needs from outside is open (launch_fd).
/// The error says what could not be given up: then nothing may run.
tl::expected<void, std::string> enter_sandbox();

}  // namespace cloister::toolstack
