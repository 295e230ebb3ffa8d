// The I/O APIC against the 82093AA data sheet, 3.1 and 3.2.
#include "platform/ioapic.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace cloister::platform {
namespace {

constexpr u32 masked = 1 << 16, level = 1 << 15, low_active = 1 << 13, logical = 1 << 11;
constexpr u32 remote_irr = 1 << 14;

class IoApicTest : public ::testing::Test {
 protected:
  u32 get(u32 index) {
    io_.write(0x00, index);
    return io_.read(0x10);
  }
  void set(u32 index, u32 value) {
    io_.write(0x00, index);
    io_.write(0x10, value);
  }
  u32 low(unsigned pin) { return get(0x10 + 2 * pin); }
  void entry(unsigned pin, u32 value, u32 destination = 0) {
    set(0x11 + 2 * pin, destination << 24);
    set(0x10 + 2 * pin, value);
  }
  std::vector<InterruptMessage> sent_;
  IoApic io_{[this](const InterruptMessage& m) { sent_.push_back(m); }};
};

TEST_F(IoApicTest, StartsWithAllEntriesMasked) {  // 3.2.4
  EXPECT_EQ(get(1), 0x0017'0020u);                // 24 entries, version 0x20
  EXPECT_EQ(get(0), 0u);
  for (unsigned pin = 0; pin < 24; ++pin) {
    EXPECT_EQ(low(pin), masked);
    EXPECT_EQ(get(0x11 + 2 * pin), 0u);
  }
  EXPECT_EQ(get(0x40), 0xffff'ffffu);  // beyond the last
}

TEST_F(IoApicTest, HasAFourBitIdAndReadOnlyBits) {
  set(0, 0xffff'ffff);
  EXPECT_EQ(get(0), 0x0f00'0000u);
  set(1, 0);
  EXPECT_EQ(get(1), 0x0017'0020u);
  entry(5, 0xffff'ffff, 0xff);
  EXPECT_EQ(low(5), 0x0001'afffu);  // delivery status, remote IRR and the reserved bits are not written
  EXPECT_EQ(get(0x11 + 10), 0xff00'0000u);
}

TEST_F(IoApicTest, DeliversRisingEdges) {
  entry(4, 0x31, 7);
  io_.set_pin(4, true);
  io_.set_pin(4, true);
  io_.set_pin(4, false);
  io_.set_pin(4, true);
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[0].vector, 0x31);
  EXPECT_EQ(sent_[0].destination, 7u);
  EXPECT_EQ(sent_[0].delivery, 0);
  EXPECT_FALSE(sent_[0].logical);
  EXPECT_FALSE(sent_[0].level);
  EXPECT_EQ(low(4) & remote_irr, 0u);
}

TEST_F(IoApicTest, CarriesModeAndDestinationOfTheEntry) {
  entry(1, 0x45 | 1 << 8 | logical, 0x83);
  io_.set_pin(1, true);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_TRUE(sent_[0].logical);
  EXPECT_EQ(sent_[0].destination, 0x83u);
  EXPECT_EQ(sent_[0].delivery, 1);
}

TEST_F(IoApicTest, LosesEdgesWhileMasked) {
  entry(4, 0x31 | masked);
  io_.set_pin(4, true);
  entry(4, 0x31);
  EXPECT_TRUE(sent_.empty());
  io_.set_pin(4, false);
  io_.set_pin(4, true);
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(IoApicTest, DeliversALevelOnceUntilItsEoi) {
  entry(9, 0x50 | level);
  io_.set_pin(9, true);
  io_.set_pin(9, true);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_TRUE(sent_[0].level);
  EXPECT_TRUE(low(9) & remote_irr);
  io_.eoi(0x51);  // another's
  EXPECT_TRUE(low(9) & remote_irr);
  io_.eoi(0x50);  // still asserted: again
  EXPECT_EQ(sent_.size(), 2u);
  EXPECT_TRUE(low(9) & remote_irr);
  io_.set_pin(9, false);
  io_.eoi(0x50);
  EXPECT_EQ(sent_.size(), 2u);
  EXPECT_FALSE(low(9) & remote_irr);
}

TEST_F(IoApicTest, KeepsALevelWhileMasked) {
  entry(9, 0x50 | level | masked);
  io_.set_pin(9, true);
  EXPECT_TRUE(sent_.empty());
  entry(9, 0x50 | level);
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(IoApicTest, AMaskedLevelThatGoesAwayIsForgotten) {
  entry(9, 0x50 | level | masked);
  io_.set_pin(9, true);
  io_.set_pin(9, false);
  entry(9, 0x50 | level);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(IoApicTest, TheEoiRegisterEndsAnInterrupt) {
  entry(9, 0x50 | level);
  io_.set_pin(9, true);
  io_.set_pin(9, false);
  io_.write(0x40, 0x50);
  EXPECT_FALSE(low(9) & remote_irr);
}

TEST_F(IoApicTest, SwitchingToEdgeClearsRemoteIrr) {  // how software ends one where there is no EOI register
  entry(9, 0x50 | level);
  io_.set_pin(9, true);
  io_.set_pin(9, false);
  entry(9, 0x50 | masked);
  entry(9, 0x50 | level);
  EXPECT_FALSE(low(9) & remote_irr);
}

TEST_F(IoApicTest, HonoursThePolarity) {
  io_.set_pin(3, true);
  entry(3, 0x40 | low_active);
  io_.set_pin(3, false);
  EXPECT_EQ(sent_.size(), 1u);
  io_.set_pin(3, true);
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(IoApicTest, NmiIsAlwaysAnEdge) {  // 3.2.4: delivery mode NMI is treated as edge triggered
  entry(2, 4 << 8 | level);
  io_.set_pin(2, true);
  io_.set_pin(2, true);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].delivery, 4);
  EXPECT_FALSE(sent_[0].level);
}

TEST_F(IoApicTest, ReservedModesAndExtIntSendNothing) {
  for (u32 mode : {3u, 6u, 7u}) {
    entry(2, 0x40 | mode << 8);
    io_.set_pin(2, true);
    io_.set_pin(2, false);
  }
  EXPECT_TRUE(sent_.empty());
}

TEST_F(IoApicTest, ResetMasksAgain) {
  entry(4, 0x31);
  io_.reset();
  io_.set_pin(4, true);
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(low(4), masked);
}

}  // namespace
}  // namespace cloister::platform
