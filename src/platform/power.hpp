// Hardware-reduced ACPI's sleep control and status registers and the reset register (ACPI 6.4, 4.8.3.7 and 4.8.3.6), as
// bytes of I/O space.
#pragma once

#include <array>
#include <optional>

#include "arch/types.hpp"

namespace cloister::platform {

inline constexpr u16 sleep_control_port = 0x600, sleep_status_port = 0x601, reset_port = 0x602;
inline constexpr u8 reset_value = 0x01;
/// The interrupt that says the power button was pressed: an edge, for the DSDT's generic event device
/// (ACPI 6.4, 5.6.9).
inline constexpr u32 power_button_gsi = 10;
inline constexpr u8 s5_type = 5;  ///< SLP_TYP of \_S5

/// What real-mode code finds at the reset vector F000:FFF0, where operating systems jump to restart a machine: it
/// writes reset_value to reset_port.
inline constexpr u64 reset_vector = 0xf'fff0;
inline constexpr std::array<u8, 9> reset_code{0xba,
                                              reset_port & 0xff,
                                              reset_port >> 8,  // mov dx, reset_port
                                              0xb0,
                                              reset_value,  // mov al, reset_value
                                              0xee,         // out dx, al
                                              0xf4,
                                              0xeb,
                                              0xfd};  // hlt; jmp to it

enum class PowerEvent : u8 { power_off, reset };

class PowerControl {
 public:
  /// Byte access to the three ports; a write may power the machine off or reset it.
  u8 read(u16 port) const;
  std::optional<PowerEvent> write(u16 port, u8 value);

 private:
  u8 control_ = 0;
};

}  // namespace cloister::platform
