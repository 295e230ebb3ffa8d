// The local APIC's timer against SDM vol. 3A, 11.5.4. One tick of the undivided timer is 80 TSC cycles here.
#include <gtest/gtest.h>

#include "platform/apic.hpp"

namespace cloister::platform {
namespace {

constexpr u64 tsc_hz = 2'000'000'000, timer_hz = 25'000'000, tick = tsc_hz / timer_hz;
constexpr u32 svr = 0xf0, eoi = 0xb0, lvt_timer = 0x320, initial_count = 0x380, current_count = 0x390, divide = 0x3e0;
constexpr u32 periodic = 1 << 17, tsc_deadline = 2 << 17, masked = 1 << 16;
constexpr u32 by_1 = 0xb;
constexpr u8 vector = 0xec;
constexpr u64 start = 1'000'000;

class Timer : public ::testing::Test {
 protected:
  Timer() {
    apic_.write(svr, 0x1ff, 0);
    apic_.write(divide, by_1, 0);
  }
  void arm(u32 lvt, u32 count) {
    apic_.write(lvt_timer, lvt, start);
    apic_.write(initial_count, count, start);
  }
  /// Whether the timer's interrupt has come by `now`; takes it and ends it.
  bool fired(u64 now) {
    apic_.advance(now);
    if (apic_.pending() != vector) return false;
    apic_.acknowledge();
    apic_.write(eoi, 0, now);
    return true;
  }
  LocalApic apic_{0, tsc_hz, timer_hz};
};

TEST_F(Timer, OneShotFiresOnce) {
  arm(vector, 100);
  EXPECT_EQ(apic_.read(current_count, start), 100u);
  EXPECT_EQ(apic_.read(current_count, start + tick - 1), 100u);
  EXPECT_EQ(apic_.read(current_count, start + tick), 99u);
  EXPECT_EQ(apic_.next_deadline(), start + 100 * tick);
  EXPECT_FALSE(fired(start + 100 * tick - 1));
  EXPECT_TRUE(fired(start + 100 * tick));
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_FALSE(fired(start + 1000 * tick));
  EXPECT_EQ(apic_.read(current_count, start + 1000 * tick), 0u);
  EXPECT_EQ(apic_.read(initial_count, start), 100u);
}

TEST_F(Timer, PeriodicFiresWithoutDrift) {
  LocalApic apic(0, 3'000'000'001, 7);  // periods that are no whole number of cycles
  apic.write(svr, 0x1ff, 0);
  apic.write(divide, by_1, 0);
  apic.write(lvt_timer, periodic | vector, 0);
  apic.write(initial_count, 1, 0);
  for (u64 n = 1; n <= 700; ++n) {
    const u64 due = *apic.next_deadline();
    EXPECT_EQ(due, (n * 3'000'000'001 + 6) / 7);
    apic.advance(due - 1);
    EXPECT_EQ(apic.pending(), std::nullopt);
    apic.advance(due);
    ASSERT_EQ(apic.pending(), vector);
    apic.acknowledge();
    apic.write(eoi, 0, due);
  }
}

TEST_F(Timer, PeriodicReloadsItsCount) {
  arm(periodic | vector, 10);
  EXPECT_EQ(apic_.read(current_count, start + 9 * tick), 1u);
  EXPECT_EQ(apic_.read(current_count, start + 10 * tick), 10u);
  EXPECT_EQ(apic_.read(current_count, start + 13 * tick), 7u);
}

TEST_F(Timer, MissedPeriodsAreOneInterrupt) {
  arm(periodic | vector, 10);
  EXPECT_TRUE(fired(start + 55 * tick));
  EXPECT_FALSE(fired(start + 59 * tick));
  EXPECT_EQ(apic_.next_deadline(), start + 60 * tick);
}

TEST_F(Timer, DividesByTheConfiguredPowerOfTwo) {  // figure 11-10
  const std::pair<u32, u32> divisors[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
  for (auto [code, divisor] : divisors) {
    apic_.write(divide, code, start);
    EXPECT_EQ(apic_.read(divide, start), code);
    arm(vector, 10);
    EXPECT_EQ(apic_.next_deadline(), start + 10 * tick * divisor) << code;
  }
}

TEST_F(Timer, AnotherDivisorAppliesToWhatIsLeft) {
  arm(vector, 10);
  apic_.write(divide, 0, start + 4 * tick);
  EXPECT_EQ(apic_.read(current_count, start + 4 * tick), 6u);
  EXPECT_EQ(apic_.next_deadline(), start + 4 * tick + 6 * 2 * tick);
}

TEST_F(Timer, AnInitialCountOfZeroStopsIt) {
  arm(periodic | vector, 10);
  apic_.write(initial_count, 0, start + tick);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_FALSE(fired(start + 1000 * tick));
}

TEST_F(Timer, TheLargestCountDoesNotWrap) {
  apic_.write(divide, 10, start);
  arm(vector, 0xffff'ffff);
  EXPECT_EQ(apic_.next_deadline(), start + 0xffff'ffffull * 128 * tick);
  EXPECT_EQ(apic_.read(current_count, start), 0xffff'ffffu);
}

TEST_F(Timer, MaskedItExpiresSilently) {
  arm(masked | vector, 10);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_FALSE(fired(start + 20 * tick));
  apic_.write(lvt_timer, vector, start + 20 * tick);
  EXPECT_FALSE(fired(start + 30 * tick));
}

TEST_F(Timer, UnmaskedInTimeItFires) {
  arm(masked | vector, 10);
  apic_.write(lvt_timer, vector, start + 5 * tick);
  EXPECT_EQ(apic_.next_deadline(), start + 10 * tick);
  EXPECT_TRUE(fired(start + 10 * tick));
}

TEST_F(Timer, DisablingTheApicMasksIt) {
  arm(vector, 10);
  apic_.write(svr, 0xff, start);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_FALSE(fired(start + 20 * tick));
}

TEST_F(Timer, AnotherModeDisarmsIt) {  // "A write to the LVT Timer Register that changes the timer mode disarms"
  arm(vector, 10);
  apic_.write(lvt_timer, periodic | vector, start);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.set_tsc_deadline(start + 50, start);
  apic_.write(lvt_timer, vector, start);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_EQ(apic_.tsc_deadline(), 0u);
}

TEST_F(Timer, AnotherVectorDoesNotDisarmIt) {
  arm(0x30, 10);
  apic_.write(lvt_timer, vector, start);
  EXPECT_TRUE(fired(start + 10 * tick));
}

TEST_F(Timer, TscDeadlineFiresOnceAndReadsZeroAfterwards) {  // 11.5.4.1
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.set_tsc_deadline(start + 500, start);
  EXPECT_EQ(apic_.tsc_deadline(), start + 500);
  EXPECT_EQ(apic_.next_deadline(), start + 500);
  EXPECT_FALSE(fired(start + 499));
  EXPECT_TRUE(fired(start + 500));
  EXPECT_EQ(apic_.tsc_deadline(), 0u);
  EXPECT_FALSE(fired(start + 1'000'000));
}

TEST_F(Timer, ADeadlineInThePastFiresAtOnce) {
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.set_tsc_deadline(start - 1, start);
  EXPECT_EQ(apic_.pending(), vector);
  EXPECT_EQ(apic_.tsc_deadline(), 0u);
  apic_.acknowledge();
  apic_.write(eoi, 0, start);
  apic_.set_tsc_deadline(start, start);  // now counts as past
  EXPECT_EQ(apic_.pending(), vector);
}

TEST_F(Timer, ADeadlineOfZeroDisarms) {
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.set_tsc_deadline(start + 500, start);
  apic_.set_tsc_deadline(0, start + 1);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_FALSE(fired(start + 1000));
}

TEST_F(Timer, ADeadlineThatIsDueIsNotLostToTheNextWrite) {
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.set_tsc_deadline(start + 500, start);
  apic_.set_tsc_deadline(start + 900, start + 600);
  EXPECT_TRUE(fired(start + 600));
  EXPECT_TRUE(fired(start + 900));
}

TEST_F(Timer, EachModeIgnoresTheOthersRegister) {
  arm(vector, 10);
  apic_.set_tsc_deadline(start + 1, start);
  EXPECT_EQ(apic_.tsc_deadline(), 0u);
  EXPECT_EQ(apic_.next_deadline(), start + 10 * tick);
  apic_.write(lvt_timer, tsc_deadline | vector, start);
  apic_.write(initial_count, 10, start);
  EXPECT_EQ(apic_.read(current_count, start), 0u);
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
}

TEST_F(Timer, ResetStopsIt) {
  arm(periodic | vector, 10);
  apic_.reset();
  EXPECT_EQ(apic_.next_deadline(), std::nullopt);
  EXPECT_EQ(apic_.read(divide, start), 0u);
}

}  // namespace
}  // namespace cloister::platform
