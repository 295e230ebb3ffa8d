// Registers are kept as words and written a byte at a time, as the bus brings them. Status bits are cleared by writing
// ones; SLP_EN and GBL_RLS always read zero (ACPI 6.4, tables 4.13 to 4.15).
#include "platform/power.hpp"

#include <utility>

namespace cloister::platform {
namespace {

/// The power button alone sets its status bit. The enable bits of other events are kept, for kernels read them back.
constexpr u16 enable_bits = 1u << 0 | 1u << 5 | pm1_power_button | 1u << 9 | 1u << 10;
constexpr u16 sci_en = 1u << 0, bus_master_reload = 1u << 1, sleep_type = 7u << (8 + pm1_sleep_type_shift);
constexpr u16 control_bits = bus_master_reload | sleep_type;

u8 byte_of(u16 word, unsigned byte) { return static_cast<u8>(word >> (8 * byte)); }

u16 with_byte(u16 word, unsigned byte, u8 value) {
  return static_cast<u16>((word & ~(0xffu << (8 * byte))) | unsigned{value} << (8 * byte));
}

bool within(u16 port, u16 first, unsigned bytes) { return port >= first && port < first + bytes; }

}  // namespace

PowerControl::PowerControl(Irq sci) : sci_(std::move(sci)) {}

u8 PowerControl::read(u16 port) const {
  if (within(port, pm1_control_port, pm1_control_bytes))
    return byte_of(state_.control | sci_en, port - pm1_control_port);
  if (!within(port, pm1_event_port, pm1_event_bytes)) return 0;
  const unsigned byte = port - pm1_event_port;
  return byte_of(byte < 2 ? state_.status : state_.enable, byte % 2);
}

std::optional<PowerEvent> PowerControl::write(u16 port, u8 value) {
  if (port == reset_port && value == reset_value) return PowerEvent::reset;
  if (within(port, pm1_event_port, pm1_event_bytes)) write_event(port - pm1_event_port, value);
  if (!within(port, pm1_control_port, pm1_control_bytes)) return std::nullopt;
  const unsigned byte = port - pm1_control_port;
  state_.control = with_byte(state_.control, byte, value) & control_bits;
  if (byte != 1 || (value & pm1_sleep_enable) == 0) return std::nullopt;
  switch (static_cast<SleepType>((value >> pm1_sleep_type_shift) & 7)) {
    case SleepType::s3: return PowerEvent::sleep;
    case SleepType::s4:
    case SleepType::s5: return PowerEvent::power_off;
    default: return std::nullopt;
  }
}

void PowerControl::write_event(unsigned byte, u8 value) {
  if (byte < 2) {
    state_.status = static_cast<u16>(state_.status & ~(unsigned{value} << (8 * byte)));
  } else {
    state_.enable = with_byte(state_.enable, byte % 2, value) & enable_bits;
  }
  update();
}

void PowerControl::press_button() {
  state_.status |= pm1_power_button;
  update();
}

void PowerControl::wake() { state_.status |= pm1_wake; }

/// WAK_STS has no enable bit: it raises nothing (table 4.13).
void PowerControl::update() { sci_(event_waits()); }

}  // namespace cloister::platform
