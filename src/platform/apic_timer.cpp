// A tick is tsc_hz * divisor / timer_hz TSC cycles. Ticks are rounded down and their times up, so the count is zero
// exactly from the time of expiry on.
#include "platform/apic_timer.hpp"

#include <algorithm>

namespace cloister::platform {

u64 ApicTimer::divisor() const {
  const u32 code = (divide_ & 3) | (divide_ >> 1 & 4);  // 0: by 2, 1: by 4, ... 6: by 128, 7: by 1
  return u64{1} << ((code + 1) & 7);
}

u64 ApicTimer::ticks(u64 now) const {
  const u64 cycles = now > start_ ? now - start_ : 0;
  return static_cast<u64>(u128{cycles} * timer_hz_ / (u128{tsc_hz_} * divisor()));
}

void ApicTimer::schedule() {
  next_.reset();
  if (mode_ == Mode::tsc_deadline && deadline_) next_ = deadline_;
  if (!counts() || !first_) return;
  const u128 cycles_by_hz = (first_ + u128{expiries_} * initial_) * tsc_hz_ * divisor();
  next_ = start_ + static_cast<u64>((cycles_by_hz + timer_hz_ - 1) / timer_hz_);
}

void ApicTimer::start(u32 first, u64 now) {
  first_ = first;
  start_ = now;
  expiries_ = 0;
  schedule();
}

void ApicTimer::set_mode(Mode mode) {
  if (mode == mode_) return;
  mode_ = mode;
  initial_ = 0;
  deadline_ = 0;
  start(0, 0);
}

void ApicTimer::set_divide(u32 value, u64 now) {
  const u32 left = current(now);
  divide_ = value;
  start(left, now);
}

void ApicTimer::set_initial(u32 count, u64 now) {
  if (!counts()) return;
  initial_ = count;
  start(count, now);
}

u32 ApicTimer::current(u64 now) const {
  if (!counts() || !first_) return 0;
  const u64 passed = ticks(now);
  if (passed < first_) return static_cast<u32>(first_ - passed);
  if (mode_ == Mode::one_shot) return 0;
  return static_cast<u32>(initial_ - (passed - first_) % initial_);
}

void ApicTimer::set_deadline(u64 value) {
  if (mode_ != Mode::tsc_deadline) return;
  deadline_ = value;
  schedule();
}

bool ApicTimer::expire(u64 now) {
  if (!next_ || now < *next_) return false;
  if (mode_ == Mode::tsc_deadline)
    deadline_ = 0;
  else if (mode_ == Mode::one_shot)
    first_ = 0;
  else
    expiries_ = (ticks(now) - first_) / initial_ + 1;
  schedule();
  return true;
}

void ApicTimer::reset() { *this = ApicTimer(tsc_hz_, timer_hz_); }

}  // namespace cloister::platform
