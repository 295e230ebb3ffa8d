// The system calls that a VMM may make (seccomp(2), by libseccomp): a table. Any other call ends the process by SIGSYS.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// For the calling thread and those that it starts, for good. The caller has set no_new_privs. The error is the
/// system's.
tl::expected<void, std::string> install_seccomp_filter();

}  // namespace cloister::toolstack
