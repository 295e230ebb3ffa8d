#include "hypervisor/devices/host_random.hpp"

#include <sys/random.h>

#include <cerrno>

namespace cloister::hypervisor {

bool fill_with_random(std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t some = ::getrandom(to.data(), to.size(), 0);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(some));
  }
  return true;
}

}  // namespace cloister::hypervisor
