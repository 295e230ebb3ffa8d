// How many lines a source may write: some at once, then one in a while. What is refused is counted.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

#include "arch/types.hpp"

namespace cloister::toolstack {

class LineLimit {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int at_once = 200;
  static constexpr std::chrono::milliseconds then_every{100};

  /// Whether a line may be written now.
  bool admit(Clock::time_point now) {
    const Clock::time_point owed = std::max(owed_until_, now);
    if (owed - now > (at_once - 1) * then_every) return false;
    owed_until_ = owed + then_every;
    return true;
  }
  /// Counts lines that were not written.
  void lose(u64 lines = 1) { lost_ += lines; }
  u64 lost() const { return lost_; }
  u64 take_lost() { return std::exchange(lost_, 0); }

 private:
  Clock::time_point owed_until_{};
  u64 lost_ = 0;
};

}  // namespace cloister::toolstack
