// A tick is tsc_hz * divisor / timer_hz TSC cycles. Ticks are rounded down and their times up, so the count is zero
// exactly from the time of expiry on.
#include "platform/apic_timer.hpp"

#include <algorithm>

namespace cloister::platform {

u64 ApicTimer::divisor() const {
  const u32 code = (state_.divide & 3) | (state_.divide >> 1 & 4);  // 0: by 2, 1: by 4, ... 6: by 128, 7: by 1
  return u64{1} << ((code + 1) & 7);
}

u64 ApicTimer::ticks(u64 now) const {
  const u64 cycles = now > state_.start ? now - state_.start : 0;
  return static_cast<u64>(u128{cycles} * timer_hz_ / (u128{tsc_hz_} * divisor()));
}

void ApicTimer::schedule() {
  state_.next.reset();
  if (state_.mode == Mode::tsc_deadline && state_.deadline) state_.next = state_.deadline;
  if (!counts() || !state_.first) return;
  const u128 cycles_by_hz = (state_.first + u128{state_.expiries} * state_.initial) * tsc_hz_ * divisor();
  state_.next = state_.start + static_cast<u64>((cycles_by_hz + timer_hz_ - 1) / timer_hz_);
}

void ApicTimer::start(u32 first, u64 now) {
  state_.first = first;
  state_.start = now;
  state_.expiries = 0;
  schedule();
}

void ApicTimer::set_mode(Mode mode) {
  if (mode == state_.mode) return;
  state_.mode = mode;
  state_.initial = 0;
  state_.deadline = 0;
  start(0, 0);
}

void ApicTimer::set_divide(u32 value, u64 now) {
  const u32 left = current(now);
  state_.divide = value;
  start(left, now);
}

void ApicTimer::set_initial(u32 count, u64 now) {
  if (!counts()) return;
  state_.initial = count;
  start(count, now);
}

u32 ApicTimer::current(u64 now) const {
  if (!counts() || !state_.first) return 0;
  const u64 passed = ticks(now);
  if (passed < state_.first) return static_cast<u32>(state_.first - passed);
  if (state_.mode == Mode::one_shot) return 0;
  return static_cast<u32>(state_.initial - (passed - state_.first) % state_.initial);
}

void ApicTimer::set_deadline(u64 value) {
  if (state_.mode != Mode::tsc_deadline) return;
  state_.deadline = value;
  schedule();
}

bool ApicTimer::expire(u64 now) {
  if (!state_.next || now < *state_.next) return false;
  if (state_.mode == Mode::tsc_deadline)
    state_.deadline = 0;
  else if (state_.mode == Mode::one_shot)
    state_.first = 0;
  else
    state_.expiries = (ticks(now) - state_.first) / state_.initial + 1;
  schedule();
  return true;
}

void ApicTimer::reset() { state_ = {}; }

}  // namespace cloister::platform
