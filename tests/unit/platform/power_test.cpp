// Sleep control, sleep status and reset register (ACPI 6.4, 4.8.3.6 and 4.8.3.7).
#include "platform/power.hpp"

#include <gtest/gtest.h>

namespace cloister::platform {
namespace {

constexpr u8 slp_en = 1 << 5;
constexpr u8 slp_typ(u8 type) { return static_cast<u8>(type << 2); }

TEST(Power, SlpEnWithS5sTypePowersOff) {
  PowerControl power;
  EXPECT_EQ(power.write(sleep_control_port, slp_en | slp_typ(s5_type)), PowerEvent::power_off);
}

TEST(Power, OtherSleepTypesAndATypeWithoutSlpEnDoNothing) {
  PowerControl power;
  EXPECT_EQ(power.write(sleep_control_port, slp_typ(s5_type)), std::nullopt);
  for (u8 type = 0; type < 8; ++type)
    EXPECT_EQ(power.write(sleep_control_port, slp_en | slp_typ(type)).has_value(), type == s5_type) << int{type};
}

TEST(Power, SlpTypReadsBackAndSlpEnReadsZero) {
  PowerControl power;
  power.write(sleep_control_port, 0xe3 | slp_typ(3));
  EXPECT_EQ(power.read(sleep_control_port), slp_typ(3));
}

TEST(Power, WakeStatusIsClear) {
  PowerControl power;
  EXPECT_EQ(power.write(sleep_status_port, 0x80), std::nullopt);  // how an OS clears WAK before it sleeps
  EXPECT_EQ(power.read(sleep_status_port), 0);
}

TEST(Power, TheResetValueResets) {
  PowerControl power;
  EXPECT_EQ(power.write(reset_port, reset_value), PowerEvent::reset);
  EXPECT_EQ(power.write(reset_port, 0), std::nullopt);
  EXPECT_EQ(power.write(reset_port, 0xff), std::nullopt);
}

}  // namespace
}  // namespace cloister::platform
