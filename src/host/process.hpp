// Starting a process that has the descriptors it is given and nothing else of ours.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

struct Process {
  int pid = 0;
  Fd pidfd;
};

/// A program in a session of its own, without an environment. The first of its arguments is what it is called. Its
/// descriptors are those of `descriptors`, by their number there; -1: none. All others are closed.
tl::expected<Process, std::string> spawn(const std::string& program, const std::vector<std::string>& arguments,
                                         std::span<const int> descriptors);

/// Waits until the process has ended; false: it has not, in so many milliseconds.
bool wait_for_end(int pidfd, int milliseconds);
/// Takes the process's exit status from the kernel, and says it in words. Empty: it has not ended, or is no child of
/// ours, whose status nobody tells us.
std::string reap(int pidfd);

}  // namespace cloister::toolstack
