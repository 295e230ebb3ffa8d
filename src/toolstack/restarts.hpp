// How often a guest that ends by itself may start anew: the first times at once, then each time after a longer wait,
// and no more than `limit` times within `window`. What is asked for from outside does not count.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>

#include "toolstack/config.hpp"

namespace cloister::toolstack {

class Restarts {
 public:
  using Clock = std::chrono::steady_clock;

  /// limit 0: none.
  Restarts(u32 limit, std::chrono::seconds window) : limit_(limit), window_(window) {}
  explicit Restarts(const DomainConfig& config);

  /// For the next one: how long to wait before it; nothing: it has been often enough.
  std::optional<std::chrono::seconds> next(Clock::time_point now);
  /// Why there is no next one.
  std::string why_not() const;

 private:
  const u32 limit_;
  const std::chrono::seconds window_;
  std::deque<Clock::time_point> within_;
};

}  // namespace cloister::toolstack
