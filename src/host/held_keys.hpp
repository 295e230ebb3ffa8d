// Keys on their way to whoever reads them when they like: a guest, a domain's console. The way is bounded, and nobody
// waits on it, so that the terminal is read on and Ctrl-] is seen whatever the other end does.
#pragma once

#include <span>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack {

class HeldKeys {
 public:
  static constexpr std::size_t most = 64 << 10;

  /// Holds as many as there is room for; the rest is left out.
  void add(std::span<const u8> keys);
  /// Writes what `fd`, which must not wait, takes now. False, with errno: it takes no more.
  bool write_to(int fd);
  bool empty() const { return keys_.empty(); }
  std::size_t room() const { return most - keys_.size(); }

 private:
  std::vector<u8> keys_;
};

}  // namespace cloister::toolstack
