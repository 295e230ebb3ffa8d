// The registers of power.hpp. SLP_EN is bit 5 and always reads zero, SLP_TYP is bits 4:2 (ACPI 6.4, table 4.27); the
// status register's only bit, WAK, is never set, as S5 is the only sleep there is.
#include "platform/power.hpp"

namespace cloister::platform {
namespace {

constexpr u8 slp_en = 1 << 5, slp_typ = 7 << 2;

}  // namespace

u8 PowerControl::read(u16 port) const { return port == sleep_control_port ? control_ : 0; }

std::optional<PowerEvent> PowerControl::write(u16 port, u8 value) {
  if (port == sleep_control_port) {
    control_ = value & slp_typ;
    if (value & slp_en && control_ >> 2 == s5_type) return PowerEvent::power_off;
  } else if (port == reset_port && value == reset_value) {
    return PowerEvent::reset;
  }
  return std::nullopt;
}

}  // namespace cloister::platform
