// Starting a VMM, with the descriptors of a launch (protocol/launch.hpp).
#pragma once

#include <array>
#include <string>
#include <tl/expected.hpp>

#include "host/process.hpp"
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

/// The program at `vmm`, called `title` (process_identity.hpp). `errors`: its standard error.
tl::expected<Process, std::string> spawn_vmm(const std::string& vmm, const std::string& title,
                                             const LaunchDescriptors& descriptors, int errors);

}  // namespace cloister::toolstack
