// The fraction of a date's second is the phase of the chip's divider chain. The update of the registers takes no time
// here: they change when the second does.
#include "platform/rtc.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace cloister::platform {
namespace {

constexpr i64 second = 1'000'000'000;
constexpr i64 seconds_a_minute = 60, seconds_an_hour = 3600, seconds_a_day = 86'400;

enum Register : u8 {
  second_alarm = 1,
  minute_alarm = 3,
  hour_alarm = 5,
  reg_a = 10,
  reg_b = 11,
  reg_c = 12,
  reg_d = 13
};

// Register A. Dividers: 010 runs from 32,768 Hz, 11x holds the chain in reset; the others are for other crystals and
// for tests.
constexpr u8 update_in_progress = 0x80, divider = 0x70, divider_runs = 0x20, divider_reset = 0x60, rate = 0x0f;
// Register B, and C, whose flags have the places of B's enables.
constexpr u8 set = 0x80, periodic = 0x40, alarm = 0x20, update = 0x10, binary = 0x04, hours_24 = 0x02;
constexpr u8 interrupt_requested = 0x80, all_flags = periodic | alarm | update;
constexpr u8 valid_ram_and_time = 0x80;  // register D
// As firmware leaves them: 1024 Hz; 24 hours, BCD.
constexpr u8 first_a = divider_runs | 6, first_b = hours_24;

constexpr u8 pm = 0x80;         // in the hours, with 12 of them
constexpr u8 dont_care = 0xc0;  // in an alarm register
/// UIP is set this long before the registers change (data sheet, "Update Cycle").
constexpr i64 warning = 244'000;
/// The first update comes half a second after the divider chain was let go.
constexpr i64 phase_after_reset = second / 2;

constexpr i64 floor_div(i64 a, i64 b) { return a / b - (a % b < 0 ? 1 : 0); }
constexpr i64 floor_mod(i64 a, i64 b) { return a - floor_div(a, b) * b; }

constexpr RtcTime normal(i64 seconds, i64 nanoseconds) {
  return {seconds + floor_div(nanoseconds, second), floor_mod(nanoseconds, second)};
}

}  // namespace

RtcTime operator+(const RtcTime& a, const RtcTime& b) {
  return normal(a.seconds + b.seconds, a.nanoseconds + b.nanoseconds);
}
RtcTime operator-(const RtcTime& a, const RtcTime& b) {
  return normal(a.seconds - b.seconds, a.nanoseconds - b.nanoseconds);
}

u8* Rtc::Registers::at(u8 index) {
  switch (index) {
    case 0: return &second;
    case 2: return &minute;
    case 4: return &hour;
    case 6: return &weekday;
    case 7: return &day;
    case 8: return &month;
    case 9: return &year;
    case rtc_century: return &century;
    default: return nullptr;
  }
}

Rtc::Rtc(u64 tsc_hz, const RtcTime& date, const RtcBattery& battery, Irq irq)
    : tsc_hz_(tsc_hz), irq_(std::move(irq)), state_{.start = date, .battery = battery, .a = first_a, .b = first_b} {}

// ---------------------------------------------------------------------------------------------------- the date

bool Rtc::runs() const { return (state_.a & divider) <= divider_runs && (state_.b & set) == 0; }
bool Rtc::in_reset() const { return (state_.a & divider) >= divider_reset; }

RtcTime Rtc::since_start(u64 now) const {
  return {static_cast<i64>(now / tsc_hz_), static_cast<i64>(now % tsc_hz_ * second / tsc_hz_)};
}
RtcTime Rtc::date(u64 now) const { return state_.start + state_.battery.ahead + since_start(now); }
void Rtc::set_date(const RtcTime& date, u64 now) { state_.battery.ahead = date - state_.start - since_start(now); }

/// The first cycle at which the clock shows `date`.
u64 Rtc::tsc_at(const RtcTime& date) const {
  const RtcTime since = date - state_.start - state_.battery.ahead;
  if (since.seconds < 0) return 0;
  return static_cast<u64>(since.seconds) * tsc_hz_ +
         (static_cast<u64>(since.nanoseconds) * tsc_hz_ + second - 1) / second;
}

u8 Rtc::in_format(unsigned value) const {
  return static_cast<u8>((state_.b & binary) != 0 ? value : value / 10 << 4 | value % 10);
}

unsigned Rtc::plain(u8 value) const { return (state_.b & binary) != 0 ? value : (value >> 4) * 10u + (value & 0xf); }

u8 Rtc::hour_in_format(unsigned hour) const {
  if ((state_.b & hours_24) != 0) return in_format(hour);
  const unsigned twelfth = hour % 12 == 0 ? 12 : hour % 12;
  return static_cast<u8>(in_format(twelfth) | (hour >= 12 ? pm : 0));
}

unsigned Rtc::plain_hour(u8 value) const {
  if ((state_.b & hours_24) != 0) return plain(value);
  return plain(static_cast<u8>(value & ~pm)) % 12 + ((value & pm) != 0 ? 12 : 0);
}

Rtc::Registers Rtc::encode(i64 seconds) const {
  const std::chrono::sys_days day{std::chrono::days(floor_div(seconds, seconds_a_day))};
  const std::chrono::year_month_day date(day);
  const auto of_day = static_cast<unsigned>(floor_mod(seconds, seconds_a_day));
  const int year = static_cast<int>(date.year());
  return {.second = in_format(of_day % 60),
          .minute = in_format(of_day / 60 % 60),
          .hour = hour_in_format(of_day / 3600),
          .weekday = in_format(std::chrono::weekday(day).c_encoding() + 1),  // Sunday is 1
          .day = in_format(static_cast<unsigned>(date.day())),
          .month = in_format(static_cast<unsigned>(date.month())),
          .year = in_format(static_cast<unsigned>(year % 100)),
          .century = in_format(static_cast<unsigned>(year / 100 % 100))};
}

/// Values out of their range carry over, so that every register's every value is some date.
i64 Rtc::decode(const Registers& r) const {
  const unsigned months = plain(r.century) * 1200 + plain(r.year) * 12 + std::max(plain(r.month), 1u) - 1;
  const std::chrono::year_month_day first{std::chrono::year(static_cast<int>(months / 12)),
                                          std::chrono::month(months % 12 + 1), std::chrono::day(1)};
  const i64 days = std::chrono::sys_days(first).time_since_epoch().count() + i64{plain(r.day)} - 1;
  return days * seconds_a_day + plain_hour(r.hour) * seconds_an_hour + plain(r.minute) * seconds_a_minute +
         plain(r.second);
}

Rtc::Registers Rtc::shown(u64 now) const { return runs() ? encode(date(now).seconds) : state_.stopped; }

RtcBattery Rtc::battery(u64 now) const {
  if (runs()) return state_.battery;
  Rtc running = *this;  // it goes on from where it stands
  running.irq_ = [](bool) {};
  running.write_control(first_a, state_.b & (binary | hours_24), now);
  return running.state_.battery;
}

// ---------------------------------------------------------------------------------------------------- registers

u8 Rtc::read(u16 port, u64 now) {
  // The index cannot be read back.
  return port == rtc_data_port ? read_register(state_.index, now) : u8{0xff};
}

void Rtc::write(u16 port, u8 value, u64 now) {
  if (port == rtc_data_port) return write_register(state_.index, value, now);
  // Bit 7 holds back NMIs of the board, of which there is none.
  state_.index = value & 0x7f;
}

u8 Rtc::read_register(u8 index, u64 now) {
  if (Registers registers = shown(now); const u8* const value = registers.at(index)) return *value;
  switch (index) {
    case reg_a: return state_.a | (runs() && date(now).nanoseconds >= second - warning ? update_in_progress : 0);
    case reg_b: return state_.b;
    case reg_c: {
      sync(now);
      const u8 value =
          static_cast<u8>(state_.flags | ((state_.flags & state_.b & all_flags) != 0 ? interrupt_requested : 0));
      state_.flags = 0;
      update_line();
      schedule(now);
      return value;
    }
    case reg_d: return valid_ram_and_time;
    default: return state_.battery.ram[index];
  }
}

void Rtc::write_register(u8 index, u8 value, u64 now) {
  sync(now);
  if (Registers registers = shown(now); u8* const changed = registers.at(index)) {
    *changed = value;
    if (runs()) {
      set_date({decode(registers), date(now).nanoseconds}, now);
    } else {
      state_.stopped = registers;
    }
  } else if (index == reg_a) {
    write_control(value & (divider | rate), state_.b, now);
  } else if (index == reg_b) {
    write_control(state_.a, value, now);
  } else if (index != reg_c && index != reg_d) {
    state_.battery.ram[index] = value;
  }
  update_line();
  schedule(now);
}

/// Stops the clock or lets it go on, as registers A and B say.
void Rtc::write_control(u8 a, u8 b, u64 now) {
  const bool ran = runs(), was_in_reset = in_reset();
  const Registers before = shown(now);
  state_.a = a;
  state_.b = (b & set) != 0 ? b & static_cast<u8>(~update) : b;  // SET clears UIE
  if (was_in_reset && !in_reset()) set_date({date(now).seconds, phase_after_reset}, now);
  if (ran && !runs()) state_.stopped = before;
  if (!ran && runs()) set_date({decode(state_.stopped), date(now).nanoseconds}, now);
}

// ---------------------------------------------------------------------------------------------------- interrupts

/// The first second after `after` that the alarm registers match; each may match all (data sheet, "Alarm").
std::optional<i64> Rtc::next_alarm(i64 after) const {
  const auto matches = [](u8 wanted, u8 shown) { return (wanted & dont_care) == dont_care || wanted == shown; };
  i64 at = after + 1;
  while (at <= after + seconds_a_day) {
    const Registers registers = encode(at);
    if (!matches(state_.battery.ram[hour_alarm], registers.hour)) {
      at = (floor_div(at, seconds_an_hour) + 1) * seconds_an_hour;
    } else if (!matches(state_.battery.ram[minute_alarm], registers.minute)) {
      at = (floor_div(at, seconds_a_minute) + 1) * seconds_a_minute;
    } else if (!matches(state_.battery.ram[second_alarm], registers.second)) {
      ++at;
    } else {
      return at;
    }
  }
  return std::nullopt;
}

/// By the rate selection (data sheet, table 5); 0: none.
unsigned Rtc::periodic_hz() const {
  const unsigned selected = state_.a & rate;
  if (selected == 0 || in_reset()) return 0;
  return 32'768u >> ((selected < 3 ? selected + 7 : selected) - 1);
}

/// The first period's end after a date.
RtcTime Rtc::next_tick(const RtcTime& date) const {
  const i64 hz = periodic_hz(), ticks = date.nanoseconds * hz / second + 1;
  return normal(date.seconds, (ticks * second + hz - 1) / hz);
}

/// Brings the flags up to now: they are set whether or not their interrupt is enabled.
void Rtc::sync(u64 now) {
  if (now <= state_.synced) return;
  const RtcTime before = date(state_.synced), after = date(now);
  state_.synced = now;
  pass(before, after);
}

void Rtc::pass(const RtcTime& before, const RtcTime& after) {
  if (periodic_hz() != 0 && next_tick(before) <= after) state_.flags |= periodic;
  if (!runs() || before.seconds == after.seconds) return;
  state_.flags |= update;
  if (const auto at = next_alarm(before.seconds); at && *at <= after.seconds) state_.flags |= alarm;
}

void Rtc::expire(u64 now) {
  sync(now);
  update_line();
  schedule(now);
}

void Rtc::update_line() {
  const bool level = (state_.flags & state_.b & all_flags) != 0;
  if (level != std::exchange(state_.line, level)) irq_(level);
}

bool Rtc::can_be(const State& state) {
  constexpr i64 most_seconds = i64{1} << 38;  // beyond the year 9999
  const auto is_date = [](const RtcTime& time) {
    return time.seconds > -most_seconds && time.seconds < most_seconds && time.nanoseconds >= 0 &&
           time.nanoseconds < second;
  };
  return is_date(state.start) && is_date(state.battery.ahead) && state.index < state.battery.ram.size();
}

void Rtc::catch_up(const RtcTime& date_now, u64 now) {
  sync(now);
  const RtcTime before = date(now), start = date_now - since_start(now);
  if (start <= state_.start) return;  // never back
  state_.start = start;
  pass(before, date(now));
  update_line();
  schedule(now);
}

void Rtc::stood_still(u64 cycles, u64 now) { catch_up(state_.start + since_start(now) + since_start(cycles), now); }

/// A flag that is set already raises nothing more.
void Rtc::schedule(u64 now) {
  const u8 wanted = state_.b & all_flags & static_cast<u8>(~state_.flags);
  const RtcTime today = date(now);
  std::optional<RtcTime> first;
  const auto consider = [&first](const RtcTime& at) { first = std::min(first.value_or(at), at); };
  if ((wanted & periodic) != 0 && periodic_hz() != 0) consider(next_tick(today));
  if (runs()) {
    if ((wanted & update) != 0) consider({today.seconds + 1, 0});
    if ((wanted & alarm) != 0) {
      if (const auto at = next_alarm(today.seconds)) consider({*at, 0});
    }
  }
  state_.next = first ? std::optional(tsc_at(*first)) : std::nullopt;
}

}  // namespace cloister::platform
