// PM1's registers and the reset register (ACPI 6.4, 4.8.3.1, 4.8.3.2 and 4.8.3.6).
#include "platform/power.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace cloister::platform {
namespace {

using ::testing::ElementsAre;

constexpr u16 status = pm1_event_port, enable = pm1_event_port + 2, control = pm1_control_port;

class Power : public ::testing::Test {
 protected:
  u16 word(u16 port) const {
    return static_cast<u16>(power_.read(port) | power_.read(static_cast<u16>(port + 1)) << 8);
  }
  /// As the bus brings a word: its lower byte first.
  std::optional<PowerEvent> write(u16 port, u16 value) {
    const auto first = power_.write(port, static_cast<u8>(value));
    const auto second = power_.write(static_cast<u16>(port + 1), static_cast<u8>(value >> 8));
    return second ? second : first;
  }
  std::optional<PowerEvent> sleep(unsigned type) { return write(control, static_cast<u16>(1u << 13 | type << 10 | 1)); }

  std::vector<bool> levels_;
  PowerControl power_{[this](bool level) {
    if (levels_.empty() || levels_.back() != level) levels_.push_back(level);
  }};
};

TEST_F(Power, SlpEnWithASleepsType) {
  for (unsigned type = 0; type < 8; ++type) {
    const auto event = sleep(type);
    if (type == 1) {
      EXPECT_EQ(event, PowerEvent::sleep);
    } else if (type == 4 || type == 5) {
      EXPECT_EQ(event, PowerEvent::power_off);
    } else {
      EXPECT_EQ(event, std::nullopt) << type;
    }
    EXPECT_EQ(write(control, static_cast<u16>(type << 10)), std::nullopt) << "without SLP_EN";
  }
}

TEST_F(Power, SlpTypReadsBackAndSlpEnReadsZero) {
  write(control, 1u << 13 | 3u << 10 | 1u << 2 | 1u << 1);
  EXPECT_EQ(word(control), 3u << 10 | 1u << 1 | 1u) << "SCI_EN is always set, GBL_RLS reads zero";
  write(control, 0);
  EXPECT_EQ(word(control), 1u);
}

TEST_F(Power, TheButtonRaisesTheSciUntilItsStatusIsCleared) {
  write(enable, pm1_power_button);
  power_.press_button();
  EXPECT_EQ(word(status), pm1_power_button);
  write(status, 0);
  EXPECT_EQ(word(status), pm1_power_button) << "bits are cleared by writing ones";
  write(status, pm1_power_button);
  EXPECT_EQ(word(status), 0u);
  EXPECT_THAT(levels_, ElementsAre(false, true, false));
}

TEST_F(Power, APressBeforeTheEventIsEnabledIsNotLost) {
  power_.press_button();
  write(enable, pm1_power_button);
  EXPECT_THAT(levels_, ElementsAre(false, true));
  write(enable, 0);
  EXPECT_THAT(levels_, ElementsAre(false, true, false));
}

/// ACPICA takes an event whose enable bit does not read back for one without hardware.
TEST_F(Power, EnableBitsReadBack) {
  write(enable, 0xffff);
  EXPECT_EQ(word(enable), 0x721u);
}

TEST_F(Power, WakeStatusIsSetWhenItWakes) {
  EXPECT_EQ(word(status), 0u);
  power_.wake();
  EXPECT_EQ(word(status), pm1_wake);
  write(status, pm1_wake);
  EXPECT_EQ(word(status), 0u);
  for (const bool level : levels_) EXPECT_FALSE(level);
}

TEST_F(Power, TheResetValueResets) {
  EXPECT_EQ(power_.write(reset_port, reset_value), PowerEvent::reset);
  EXPECT_EQ(power_.write(reset_port, 0), std::nullopt);
  EXPECT_EQ(power_.write(reset_port, 0xff), std::nullopt);
}

}  // namespace
}  // namespace cloister::platform
