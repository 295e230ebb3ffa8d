// The local APIC's timer (SDM vol. 3A, 11.5.4): a counter that is never counted, only computed from the time that has
// passed, or a deadline in TSC cycles.
#pragma once

#include <optional>

#include "arch/types.hpp"

namespace cloister::platform {

class ApicTimer {
 public:
  enum class Mode : u8 { one_shot = 0, periodic = 1, tsc_deadline = 2, reserved = 3 };  ///< LVT timer bits 18:17
  friend constexpr bool is_value(Mode mode) { return mode <= Mode::reserved; }

  /// All that it remembers.
  struct State {
    Mode mode = Mode::one_shot;
    u32 divide = 0, initial = 0;
    u64 deadline = 0;
    u64 start = 0;     ///< TSC cycles when the counter held `first`
    u32 first = 0;     ///< ticks from `start` to the first expiry; 0: stopped
    u64 expiries = 0;  ///< expiries since `start`, periodic only
    std::optional<u64> next{};
    bool operator==(const State&) const = default;
  };

  ApicTimer(u64 tsc_hz, u64 timer_hz) : tsc_hz_(tsc_hz), timer_hz_(timer_hz) {}

  const State& state() const { return state_; }
  /// No other state is to be set.
  static bool can_be(const State& state) {
    return state.mode != Mode::periodic || state.first == 0 || state.initial != 0;
  }
  void set_state(const State& state) { state_ = state; }

  Mode mode() const { return state_.mode; }
  /// Another mode disarms the timer.
  void set_mode(Mode mode);
  /// The divide configuration register: bits 3, 1 and 0 (figure 11-10).
  u32 divide() const { return state_.divide; }
  void set_divide(u32 value, u64 now);
  u32 initial() const { return state_.initial; }
  void set_initial(u32 count, u64 now);
  u32 current(u64 now) const;
  u64 deadline() const { return state_.deadline; }
  void set_deadline(u64 value);

  /// True if the timer has expired, once or more often, since the last call.
  bool expire(u64 now);
  /// When expire() next becomes true, in TSC cycles.
  std::optional<u64> next() const { return state_.next; }
  void reset();

 private:
  bool counts() const { return state_.mode == Mode::one_shot || state_.mode == Mode::periodic; }
  u64 divisor() const;
  u64 ticks(u64 now) const;
  void start(u32 first, u64 now);
  void schedule();

  u64 tsc_hz_, timer_hz_;
  State state_;
};

}  // namespace cloister::platform
