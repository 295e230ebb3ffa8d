// The fixed registers of an ACPI machine, as bytes of I/O space (ACPI 6.4, 4.8.3): PM1's status, enable and control
// registers, and the reset register. There is no other mode than ACPI's: SCI_EN is always set.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "arch/types.hpp"

namespace cloister::platform {

inline constexpr u16 reset_port = 0x602, pm1_control_port = 0x604, pm1_event_port = 0x608;
inline constexpr u8 pm1_control_bytes = 2, pm1_event_bytes = 4;  ///< status, then enable
inline constexpr u8 reset_value = 0x01;
/// The interrupt that says a fixed event waits: level-triggered and active high (platform/acpi.cpp says so to kernels).
inline constexpr u32 sci_gsi = 9;

/// SLP_TYP of \_S3, \_S4 and \_S5.
enum class SleepType : u8 { s3 = 1, s4 = 4, s5 = 5 };

/// Of the status and enable registers (tables 4.13 and 4.14).
inline constexpr u16 pm1_power_button = 1u << 8, pm1_wake = 1u << 15;
/// Of the control register's upper byte (table 4.15): SLP_EN, and where SLP_TYP is.
inline constexpr u8 pm1_sleep_enable = 1u << 5, pm1_sleep_type_shift = 2;

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

enum class PowerEvent : u8 { power_off, reset, sleep };

class PowerControl {
 public:
  using Irq = std::function<void(bool level)>;
  /// All that it remembers.
  struct State {
    u16 status = 0, enable = 0, control = 0;
    bool operator==(const State&) const = default;
  };
  /// `sci` is called with the level of the interrupt line whenever it may have changed.
  explicit PowerControl(Irq sci);
  const State& state() const { return state_; }
  /// Goes on where another was, which has told the level of its interrupt line.
  void set_state(const State& state) { state_ = state; }

  /// Byte access to the registers; a write may power the machine off, reset it or let it sleep.
  u8 read(u16 port) const;
  std::optional<PowerEvent> write(u16 port, u8 value);

  void press_button();
  /// An event that is enabled has its status bit set, which also ends a sleep.
  bool event_waits() const { return (state_.status & state_.enable) != 0; }
  /// The machine goes on after S3: WAK_STS, which kernels wait for.
  void wake();

 private:
  void write_event(unsigned byte, u8 value);
  void update();

  Irq sci_;
  State state_;
};

}  // namespace cloister::platform
