// The clock of a PC: an MC146818A (Motorola's data sheet, 1984) as PC chip sets have it (Intel 300 Series PCH, vol. 2,
// "RTC"), with 128 bytes of memory that a battery keeps. Index at port 0x70, data at 0x71, interrupt 8.
//
// It is never counted, only computed: the date that it was started with, what the guest has set it ahead or back by,
// and the time that has passed.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <optional>

#include "arch/types.hpp"

namespace cloister::platform {

inline constexpr u16 rtc_index_port = 0x70, rtc_data_port = 0x71;
inline constexpr unsigned rtc_irq = 8;
/// Where PCs keep the century: the FADT says so (ACPI 6.4, table 5.9).
inline constexpr u8 rtc_century = 0x32;

/// Seconds since 1970, or between two dates. One number of nanoseconds would end in 2262; the chip goes on to 9999.
struct RtcTime {
  i64 seconds = 0, nanoseconds = 0;  ///< the latter from 0 to 999,999,999
  bool operator==(const RtcTime&) const = default;
  std::strong_ordering operator<=>(const RtcTime& other) const {
    return seconds != other.seconds ? seconds <=> other.seconds : nanoseconds <=> other.nanoseconds;
  }
};
RtcTime operator+(const RtcTime& a, const RtcTime& b);
RtcTime operator-(const RtcTime& a, const RtcTime& b);

/// What the battery keeps while the machine is off.
struct RtcBattery {
  RtcTime ahead;              ///< what the guest set the clock ahead of the date that it was started with
  std::array<u8, 128> ram{};  ///< alarm registers, and all from 0x0E on but the century
  bool operator==(const RtcBattery&) const = default;
};

class Rtc {
 public:
  using Irq = std::function<void(bool level)>;

  /// Registers 0 to 9 and the century, as the guest reads and writes them.
  struct Registers {
    u8 second = 0, minute = 0, hour = 0, weekday = 0, day = 0, month = 0, year = 0, century = 0;
    u8* at(u8 index);
    bool operator==(const Registers&) const = default;
  };
  /// All that it remembers.
  struct State {
    RtcTime start{};  ///< what the clock shows when the TSC is 0
    RtcBattery battery{};
    u8 index = 0, a = 0, b = 0, flags = 0;
    Registers stopped{};  ///< while the clock does not run
    u64 synced = 0;       ///< until when `flags` have been brought
    bool line = false;
    std::optional<u64> next{};
    bool operator==(const State&) const = default;
  };

  /// date: what the clock shows when the TSC is 0, in the guest's zone (the chip has none).
  Rtc(u64 tsc_hz, const RtcTime& date, const RtcBattery& battery, Irq irq);

  /// The two ports. `now` in TSC cycles, here and below.
  u8 read(u16 port, u64 now);
  void write(u16 port, u8 value, u64 now);

  /// Raises the interrupts that are due.
  void advance(u64 now) {
    if (state_.next && now >= *state_.next) expire(now);
  }
  /// When advance() is next due; nullopt if no interrupt is enabled.
  std::optional<u64> next_deadline() const { return state_.next; }

  RtcBattery battery(u64 now) const;

  const State& state() const { return state_; }
  /// No other state is to be set.
  static bool can_be(const State& state);
  /// Goes on where another was, which has told the level of its interrupt line.
  void set_state(const State& state) { state_ = state; }
  /// The TSC stood still, and time did not: what the clock would show now, had the guest not set it, is `date`. Raises
  /// the interrupts that were due meanwhile.
  void catch_up(const RtcTime& date, u64 now);
  /// The same, for so many cycles of the TSC.
  void stood_still(u64 cycles, u64 now);

 private:
  bool runs() const;
  bool in_reset() const;
  RtcTime since_start(u64 now) const;
  RtcTime date(u64 now) const;
  void set_date(const RtcTime& date, u64 now);
  u64 tsc_at(const RtcTime& date) const;
  Registers shown(u64 now) const;
  Registers encode(i64 seconds) const;
  i64 decode(const Registers& registers) const;
  u8 in_format(unsigned value) const;
  u8 hour_in_format(unsigned hour) const;
  unsigned plain(u8 value) const;
  unsigned plain_hour(u8 value) const;

  u8 read_register(u8 index, u64 now);
  void write_register(u8 index, u8 value, u64 now);
  void write_control(u8 a, u8 b, u64 now);
  std::optional<i64> next_alarm(i64 after) const;
  unsigned periodic_hz() const;
  RtcTime next_tick(const RtcTime& date) const;
  void sync(u64 now);
  void pass(const RtcTime& before, const RtcTime& after);
  void expire(u64 now);
  void update_line();
  void schedule(u64 now);

  u64 tsc_hz_;
  Irq irq_;
  State state_;
};

}  // namespace cloister::platform
