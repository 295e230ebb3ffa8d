// What another project's program may still do when it is started to read what a guest has written: no new privileges,
// files of the system and the one that it is for (landlock(7), where the kernel has it), no new sockets, no other
// processes' memory.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister::toolstack {

/// Of the process that calls, and what it executes, for good.
tl::expected<void, std::string> confine_to_file(const Fd& file);

}  // namespace cloister::toolstack
