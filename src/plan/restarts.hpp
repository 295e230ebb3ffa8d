// How often a guest that ends by itself may start anew: the first times at once, then each time after a longer wait,
// and no more than `limit` times within `window`. What is asked for from outside does not count.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "host/stop.hpp"

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

  /// Before the next one: `wait` is called if there is something to wait for, and says whether the domain goes on after
  /// it; `refused` if it has been often enough. True: the guest starts anew.
  bool wait_for_next(const std::function<void(const std::string& why)>& refused,
                     const std::function<bool(std::chrono::seconds)>& wait);

 private:
  const u32 limit_;
  const std::chrono::seconds window_;
  std::deque<Clock::time_point> within_;
};

/// wait_for_next() for a run on this terminal, which says why there is none, and waits no longer than to the deadline.
bool restarts_here(Restarts& restarts, const std::string& name, const StopSource& stop,
                   std::optional<Restarts::Clock::time_point> deadline);

}  // namespace cloister::toolstack
