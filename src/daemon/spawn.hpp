// Starting a process that has the descriptors it is given and nothing else of ours: a VMM with those of a launch
// (protocol/launch.hpp), or what opens files (opener.hpp).
#pragma once

#include <array>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"
#include "protocol/launch.hpp"

namespace cloister::toolstack {

/// Descriptors by their number in the VMM, from launch_fd::first on; -1: none. Borrowed.
class LaunchDescriptors {
 public:
  LaunchDescriptors() { fds_.fill(-1); }
  void set(int number, int descriptor) { fds_[static_cast<std::size_t>(number - launch_fd::first)] = descriptor; }
  const std::array<int, launch_fd::last - launch_fd::first + 1>& all() const { return fds_; }

 private:
  std::array<int, launch_fd::last - launch_fd::first + 1> fds_;
};

struct Process {
  int pid = 0;
  Fd pidfd;
};

/// A program in a session of its own, without an environment. The first of its arguments is what it is called. Its
/// descriptors are those of `descriptors`, by their number there; -1: none. All others are closed.
tl::expected<Process, std::string> spawn(const std::string& program, const std::vector<std::string>& arguments,
                                         std::span<const int> descriptors);

/// The program at `vmm`, called `title` (process_identity.hpp). `errors`: its standard error.
tl::expected<Process, std::string> spawn_vmm(const std::string& vmm, const std::string& title,
                                             const LaunchDescriptors& descriptors, int errors);

/// Waits until the process has ended; false: it has not, in so many milliseconds.
bool wait_for_end(int pidfd, int milliseconds);
/// Takes the process's exit status from the kernel, and says it in words. Empty: it has not ended, or is no child of
/// ours, whose status nobody tells us.
std::string reap(int pidfd);

}  // namespace cloister::toolstack
