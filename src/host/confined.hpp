// What another project's program may still do when it is started to read what a guest has written: no new privileges,
// files of the system and those that it is for (landlock(7), where the kernel has it), no new sockets, no other
// processes' memory.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// Of the process that calls, and what it executes, for good. The file, and those that it may only read, are open.
tl::expected<void, std::string> confine_to_file(int file, std::span<const int> only_read = {});

}  // namespace cloister::toolstack
