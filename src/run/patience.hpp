// How long a run's last words wait for readers: once it is to end, a second. So nobody who does not read keeps it
// alive.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "host/stop.hpp"

namespace cloister::toolstack {

class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds longest{1};

  /// deadline: of `--timeout`. stop must outlive this.
  Patience(const StopSource& stop, std::optional<Clock::time_point> deadline) : stop_(stop), deadline_(deadline) {}

  /// The run was to end a second ago, by a signal, Ctrl-] or the deadline. Any thread.
  bool over();

 private:
  const StopSource& stop_;
  std::optional<Clock::time_point> deadline_;
  std::atomic<Clock::rep> asked_{0};  ///< when a stop was first seen; 0: it was not
};

}  // namespace cloister::toolstack
