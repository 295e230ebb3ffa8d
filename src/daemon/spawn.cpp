#include "daemon/spawn.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace cloister::toolstack {

tl::expected<Process, std::string> spawn_vmm(const std::string& vmm, const std::string& title,
                                             const LaunchDescriptors& descriptors, int errors) {
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return tl::unexpected(std::string("cannot open /dev/null: ") + std::strerror(errno));
  std::vector<int> all{nothing.get(), nothing.get(), errors};
  static_assert(launch_fd::first == STDERR_FILENO + 1);
  all.insert(all.end(), descriptors.all().begin(), descriptors.all().end());
  // Numbers that a domain has no use for need not be below the limit of open files.
  while (all.back() < 0) all.pop_back();
  return spawn(vmm, {title}, all);
}

}  // namespace cloister::toolstack
