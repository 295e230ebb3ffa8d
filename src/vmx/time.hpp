// The time stamp counters of a domain's processors, which agree.
#pragma once

#include "arch/types.hpp"

namespace cloister::vmx {

/// The time stamp counter's frequency, in both clocks.
inline constexpr u64 tsc_hz = 1'000'000'000;

enum class ClockMode : u8 {
  host,           ///< the TSC follows the host's monotonic clock
  deterministic,  ///< the TSC counts retired instructions, and what skip_to() added; randomness is seeded
};

/// What the time stamp counters of several processors share, so that they agree: the host's clock from one moment on,
/// or the instructions that all of them have retired, one after the other on one thread.
class Time {
 public:
  Time();
  u64 elapsed() const;                      ///< host clock
  u64 counted() const { return counted_; }  ///< deterministic clock
  void advance(u64 cycles) { counted_ += cycles; }
  /// Goes on from a time that processors had before.
  void resume(u64 time);

 private:
  u64 start_;
  u64 counted_ = 0;
};

}  // namespace cloister::vmx
