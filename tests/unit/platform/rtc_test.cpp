// The clock chip against the MC146818A data sheet, and against what Linux does with it (drivers/rtc/rtc-cmos.c and
// rtc-mc146818-lib.c). Time is whatever the test says it is.
#include "platform/rtc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cloister::platform {
namespace {

using ::testing::ElementsAre;

constexpr u64 hz = 1'000'000'000, millisecond = hz / 1000, microsecond = hz / 1'000'000;
constexpr u8 seconds = 0, seconds_alarm = 1, minutes = 2, minutes_alarm = 3, hours = 4, hours_alarm = 5, weekday = 6,
             day = 7, month = 8, year = 9, reg_a = 10, reg_b = 11, reg_c = 12, reg_d = 13;
constexpr u8 uip = 0x80, set = 0x80, pie = 0x40, aie = 0x20, uie = 0x10, binary = 0x04, hours_24 = 0x02;
constexpr u8 irqf = 0x80, pf = 0x40, af = 0x20, uf = 0x10;

class Clock : public ::testing::Test {
 protected:
  /// Linux 2.6's birthday: Wednesday, 2003-12-17 23:59:58 UTC.
  static constexpr i64 wednesday = 1'071'705'598;

  void start(i64 date, u64 nanoseconds = 0) {
    rtc_.emplace(hz, RtcTime{date, static_cast<i64>(nanoseconds)}, battery_, [this](bool level) {
      line_ = level;
      edges_ += level ? 1 : 0;
    });
    now_ = 0;
  }
  u8 get(u8 index) {
    rtc_->write(rtc_index_port, index, now_);
    return rtc_->read(rtc_data_port, now_);
  }
  void put(u8 index, u8 value) {
    rtc_->write(rtc_index_port, index, now_);
    rtc_->write(rtc_data_port, value, now_);
  }
  /// Time passes, and whoever runs the guest looks at the deadline and at nothing else.
  void pass(u64 cycles) {
    const u64 end = now_ + cycles;
    while (rtc_->next_deadline() && *rtc_->next_deadline() <= end) {
      ASSERT_GT(*rtc_->next_deadline(), now_) << "a deadline that passed stands";
      now_ = *rtc_->next_deadline();
      rtc_->advance(now_);
    }
    now_ = end;
    rtc_->advance(now_);
  }
  std::vector<u8> date() {
    std::vector<u8> values;
    for (const u8 index : {rtc_century, year, month, day, weekday, hours, minutes, seconds})
      values.push_back(get(index));
    return values;
  }

  RtcBattery battery_;
  std::optional<Rtc> rtc_;
  u64 now_ = 0;
  bool line_ = false;
  int edges_ = 0;
};

TEST_F(Clock, StartsAsFirmwareLeavesIt) {
  start(wednesday);
  EXPECT_EQ(get(reg_a), 0x26) << "the divider runs, 1024 Hz";
  EXPECT_EQ(get(reg_b), hours_24) << "BCD, and no interrupt; Linux refuses a clock with 12 hours";
  EXPECT_EQ(get(reg_c), 0);
  EXPECT_EQ(get(reg_d), 0x80) << "the battery is good";
  EXPECT_THAT(date(), ElementsAre(0x20, 0x03, 0x12, 0x17, 4, 0x23, 0x59, 0x58));
}

TEST_F(Clock, GoesOverMidnightMonthsYearsAndLeapDays) {
  start(wednesday);
  pass(2 * hz);
  EXPECT_THAT(date(), ElementsAre(0x20, 0x03, 0x12, 0x18, 5, 0, 0, 0));
  struct Case {
    i64 before;  ///< the second before a midnight
    std::vector<u8> after;
  };
  const Case cases[] = {
      {1'709'164'799, {0x20, 0x24, 0x02, 0x29, 5, 0, 0, 0}},   // 2024-02-28
      {1'677'628'799, {0x20, 0x23, 0x03, 0x01, 4, 0, 0, 0}},   // 2023-02-28
      {4'107'542'399, {0x21, 0x00, 0x03, 0x01, 2, 0, 0, 0}},   // 2100-02-28: no leap year
      {951'782'399, {0x20, 0x00, 0x02, 0x29, 3, 0, 0, 0}},     // 2000-02-28: one
      {946'684'799, {0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0}},     // 1999-12-31: the century
      {1'714'521'599, {0x20, 0x24, 0x05, 0x01, 4, 0, 0, 0}},   // 2024-04-30
      {-1, {0x19, 0x70, 0x01, 0x01, 5, 0, 0, 0}},              // 1969-12-31
      {13'569'465'599, {0x24, 0x00, 0x01, 0x01, 7, 0, 0, 0}},  // 2399-12-31, beyond 64 bits of nanoseconds
  };
  for (const Case& c : cases) {
    start(c.before);
    pass(hz - 1);
    EXPECT_NE(date(), c.after) << c.before;
    pass(1);
    EXPECT_EQ(date(), c.after) << c.before;
  }
}

TEST_F(Clock, ShowsBinaryAndTwelveHoursAsRegisterBSays) {
  start(wednesday);
  put(reg_b, hours_24 | binary);
  EXPECT_THAT(date(), ElementsAre(20, 3, 12, 17, 4, 23, 59, 58));
  const std::pair<i64, u8> hours_of_day[] = {{0, 0x12}, {1, 0x01}, {11, 0x11}, {12, 0x92}, {13, 0x81}, {23, 0x91}};
  for (const auto& [hour, shown] : hours_of_day) {
    start(86'400 * 365 + hour * 3600);
    put(reg_b, 0);
    EXPECT_EQ(get(hours), shown) << hour;
    put(hours, shown);
    put(reg_b, hours_24 | binary);
    EXPECT_EQ(get(hours), hour) << "written as it was read";
    put(reg_b, binary);
    EXPECT_EQ(get(hours), (hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0));
  }
}

TEST_F(Clock, AnnouncesAnUpdateAtLeast244MicrosecondsAhead) {
  start(wednesday);
  EXPECT_EQ(get(reg_a) & uip, 0) << "Linux would wait";
  pass(hz - 245 * microsecond);
  EXPECT_EQ(get(reg_a) & uip, 0);
  pass(2 * microsecond);
  EXPECT_EQ(get(reg_a) & uip, uip);
  EXPECT_EQ(get(seconds), 0x58);
  pass(243 * microsecond);
  EXPECT_EQ(get(reg_a) & uip, 0);
  EXPECT_EQ(get(seconds), 0x59);
  put(reg_b, set | hours_24);
  pass(hz - 100 * microsecond);
  EXPECT_EQ(get(reg_a) & uip, 0) << "no update is ahead of a clock that is being set";
}

TEST_F(Clock, SetHoldsTheRegistersUntilTheyAreWritten) {
  start(wednesday, 250 * millisecond);
  put(reg_b, hours_24 | set);
  pass(10 * hz);
  EXPECT_EQ(get(seconds), 0x58);
  const std::pair<u8, u8> values[] = {{rtc_century, 0x19}, {year, 0x99},    {month, 0x12},  {day, 0x31},
                                      {hours, 0x23},       {minutes, 0x59}, {seconds, 0x59}};
  for (const auto& [index, value] : values) put(index, value);
  pass(10 * hz);
  EXPECT_EQ(get(seconds), 0x59);
  put(reg_b, hours_24);
  pass(749 * millisecond);
  EXPECT_EQ(get(seconds), 0x59) << "the divider chain went on: it stood at a quarter";
  pass(millisecond);
  EXPECT_THAT(date(), ElementsAre(0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0));
}

// Linux writes so that the first update comes half a second later (mc146818_set_time, set_offset_nsec).
TEST_F(Clock, StartsHalfASecondAfterTheDividersReset) {
  start(wednesday, 900 * millisecond);
  put(reg_b, hours_24 | set);
  put(reg_a, 0x76);
  put(seconds, 0x10);
  put(reg_b, hours_24);
  pass(7 * hz);
  EXPECT_EQ(get(seconds), 0x10) << "still in reset";
  EXPECT_EQ(get(reg_a), 0x76);
  put(reg_a, 0x26);
  pass(499 * millisecond);
  EXPECT_EQ(get(seconds), 0x10);
  pass(millisecond);
  EXPECT_EQ(get(seconds), 0x11);
}

TEST_F(Clock, TakesAWriteToARunningClock) {
  start(wednesday);
  put(minutes, 0x30);
  EXPECT_THAT(date(), ElementsAre(0x20, 0x03, 0x12, 0x17, 4, 0x23, 0x30, 0x58));
  pass(2 * hz);
  EXPECT_THAT(date(), ElementsAre(0x20, 0x03, 0x12, 0x17, 4, 0x23, 0x31, 0x00));
}

TEST_F(Clock, KeepsWhatTheGuestSetAndItsMemoryForTheNextRun) {
  start(wednesday);
  put(year, 0x05);
  put(0x40, 0x5a);
  put(hours_alarm, 0x12);
  pass(hz);
  battery_ = rtc_->battery(now_);
  start(wednesday + 100);
  EXPECT_THAT(date(), ElementsAre(0x20, 0x05, 0x12, 0x18, 1, 0x00, 0x01, 0x38)) << "731 days ahead, as it was";
  EXPECT_EQ(get(0x40), 0x5a);
  EXPECT_EQ(get(hours_alarm), 0x12);
  EXPECT_EQ(get(reg_b), hours_24);
}

TEST_F(Clock, ThatStandsAtTheEndGoesOnWithTheNextRun) {
  start(wednesday);
  put(reg_b, set);
  put(hours, 0x81);  // one in the afternoon
  pass(1000 * hz);
  battery_ = rtc_->battery(now_);
  start(wednesday + 1000);
  EXPECT_EQ(get(hours), 0x13);
  EXPECT_EQ(get(minutes), 0x59);
}

TEST_F(Clock, UpdateInterruptComesEachSecond) {
  start(wednesday, 400 * millisecond);
  put(reg_b, hours_24 | uie);
  pass(599 * millisecond);
  EXPECT_FALSE(line_);
  pass(millisecond);
  EXPECT_TRUE(line_);
  pass(5 * hz);
  EXPECT_EQ(edges_, 1) << "nobody has read register C";
  EXPECT_EQ(get(reg_c) & (irqf | uf), irqf | uf);
  EXPECT_FALSE(line_);
  EXPECT_EQ(get(reg_c) & uf, 0) << "reading clears it";
  pass(hz);
  EXPECT_EQ(edges_, 2);
  put(reg_b, hours_24 | set | uie);
  EXPECT_EQ(get(reg_b) & uie, 0) << "SET clears it";
}

TEST_F(Clock, FlagsAreSetWithoutTheirInterruptAndRaiseItWhenItIsEnabled) {
  start(wednesday);
  pass(hz);
  EXPECT_EQ(rtc_->next_deadline(), std::nullopt);
  put(reg_b, hours_24 | uie);
  EXPECT_TRUE(line_);
  EXPECT_EQ(get(reg_c), irqf | pf | uf);
}

TEST_F(Clock, AlarmComesAtItsTimeAndAsOftenAsDontCareSays) {
  struct Case {
    u8 hour, minute, second;
    u64 first, second_time;  ///< seconds from 23:59:58 on; 0: never
  };
  const Case cases[] = {
      {0x00, 0x00, 0x01, 3, 3 + 86'400}, {0xff, 0x00, 0x00, 2, 2 + 3600},        {0xff, 0xff, 0x59, 1, 61},
      {0xc0, 0xc0, 0xff, 1, 2},          {0x23, 0x59, 0x58, 86'400, 2 * 86'400}, {0x25, 0x00, 0x00, 0, 0},
      {0x00, 0xff, 0x00, 2, 62},
  };
  for (const Case& c : cases) {
    start(wednesday);
    edges_ = 0;
    put(hours_alarm, c.hour);
    put(minutes_alarm, c.minute);
    put(seconds_alarm, c.second);
    put(reg_b, hours_24 | aie);
    if (c.first == 0) {
      EXPECT_EQ(rtc_->next_deadline(), std::nullopt);
      continue;
    }
    ASSERT_EQ(rtc_->next_deadline(), c.first * hz) << int{c.hour} << ':' << int{c.minute} << ':' << int{c.second};
    pass(c.first * hz);
    EXPECT_EQ(edges_, 1);
    EXPECT_EQ(get(reg_c) & (irqf | af), irqf | af);
    ASSERT_EQ(rtc_->next_deadline(), c.second_time * hz);
  }
}

TEST_F(Clock, AlarmIsComparedInTheRegistersForm) {
  start(wednesday);
  put(reg_b, aie | binary);  // 12 hours, binary
  put(hours_alarm, 12);      // midnight
  put(minutes_alarm, 10);
  put(seconds_alarm, 0);
  EXPECT_EQ(rtc_->next_deadline(), u64{602} * hz);
}

TEST_F(Clock, PeriodicInterruptHasTheRateOfRegisterA) {
  const std::pair<u8, u64> rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {8, 256}, {15, 2}};
  for (const auto& [select, rate] : rates) {
    start(wednesday);
    edges_ = 0;
    put(reg_a, 0x20 | select);
    put(reg_b, hours_24 | pie);
    for (u64 i = 0; i < 2 * rate; ++i) {
      ASSERT_TRUE(rtc_->next_deadline());
      pass(*rtc_->next_deadline() - now_);
      EXPECT_EQ(get(reg_c) & (irqf | pf), irqf | pf);
    }
    EXPECT_EQ(now_, 2 * hz) << int{select};
    EXPECT_EQ(edges_, static_cast<int>(2 * rate));
  }
  start(wednesday);
  put(reg_a, 0x20);
  put(reg_b, hours_24 | pie);
  EXPECT_EQ(rtc_->next_deadline(), std::nullopt) << "rate 0 is none";
}

TEST_F(Clock, AnyValueOfAnyRegisterIsSomeDate) {
  for (unsigned value = 0; value < 256; ++value) {
    for (const u8 format : {u8{0}, hours_24, binary, u8{hours_24 | binary}}) {
      start(wednesday);
      put(reg_b, format | set);
      for (const u8 index : {rtc_century, year, month, day, weekday, hours, minutes, seconds})
        put(index, static_cast<u8>(value));
      put(reg_b, format | uie | aie | pie);
      pass(2 * hz);
      EXPECT_EQ(get(reg_c) & uf, uf) << value;
    }
  }
}

TEST_F(Clock, TheIndexHasSevenBitsAndTheRestIsMemory) {
  start(wednesday);
  put(0x80 | 0x7f, 0x11);  // bit 7 is the NMI gate
  EXPECT_EQ(get(0x7f), 0x11);
  EXPECT_EQ(rtc_->read(rtc_index_port, now_), 0xff);
  put(reg_c, 0xff);
  put(reg_d, 0);
  EXPECT_EQ(get(reg_c), 0);
  EXPECT_EQ(get(reg_d), 0x80);
  put(reg_a, 0xa6);
  EXPECT_EQ(get(reg_a), 0x26) << "UIP is read only";
}

}  // namespace
}  // namespace cloister::platform
