#include "host/held_keys.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cloister::toolstack {

void HeldKeys::add(std::span<const u8> keys) {
  const auto taken = keys.first(std::min(keys.size(), room()));
  keys_.insert(keys_.end(), taken.begin(), taken.end());
}

bool HeldKeys::write_to(int fd) {
  while (!keys_.empty()) {
    const ssize_t written = ::write(fd, keys_.data(), keys_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno == EAGAIN;
    keys_.erase(keys_.begin(), keys_.begin() + written);
  }
  return true;
}

}  // namespace cloister::toolstack
