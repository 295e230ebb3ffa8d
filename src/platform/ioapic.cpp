// Registers are those of the 82093AA data sheet, section 3.2; version 0x20 adds the EOI register at offset 0x40
// (ICH/PCH data sheets, "APIC indirect registers"). A redirection entry has its fields where an ICR has them.
#include "platform/ioapic.hpp"

#include <utility>

namespace cloister::platform {
namespace {

enum Offset : u32 { offset_index = 0x00, offset_data = 0x10, offset_eoi = 0x40 };
enum Index : u32 { index_id = 0, index_version = 1, index_arbitration = 2, index_entries = 0x10 };

constexpr u64 logical = 1 << 11, active_low = 1 << 13, remote_irr = 1 << 14, level_triggered = 1 << 15;
constexpr u64 masked = 1 << 16;
constexpr u64 writable = u64{0xff} << 56 | masked | level_triggered | active_low | logical | 0x7ff;
constexpr u32 id_bits = 0xf << 24;
constexpr u32 version_number = 0x20;
constexpr u8 lowest_priority = 1, reserved_3 = 3, reserved_6 = 6, external = 7;

constexpr u8 delivery_of(u64 entry) { return entry >> 8 & 7; }

// The trigger bit counts for fixed and lowest priority only; the other modes are always edges (3.2.4).
constexpr bool is_level(u64 entry) { return entry & level_triggered && delivery_of(entry) <= lowest_priority; }

}  // namespace

IoApic::IoApic(Send send) : send_(std::move(send)) { reset(); }

void IoApic::reset() {
  state_.index = state_.id = 0;
  state_.entries.fill(masked);
}

bool IoApic::asserted(unsigned pin) const {
  const bool high = state_.levels >> pin & 1, low_means_asserted = state_.entries[pin] & active_low;
  return high != low_means_asserted;
}

// Reserved delivery modes send nothing, and neither does ExtINT: there is no 8259 to ask for a vector.
void IoApic::deliver(unsigned pin) {
  const u64 entry = state_.entries[pin];
  const u8 delivery = delivery_of(entry);
  if (delivery == reserved_3 || delivery == reserved_6 || delivery == external) return;
  if (is_level(entry)) state_.entries[pin] |= remote_irr;
  send_({static_cast<u32>(entry >> 56), (entry & logical) != 0, 0, delivery, static_cast<u8>(entry), is_level(entry)});
}

// A level-triggered pin delivers while it is asserted, once for each EOI.
void IoApic::deliver_level(unsigned pin) {
  const u64 entry = state_.entries[pin];
  if (is_level(entry) && !(entry & (masked | remote_irr)) && asserted(pin)) deliver(pin);
}

void IoApic::set_pin(unsigned pin, bool level) {
  const bool before = asserted(pin);
  state_.levels = (state_.levels & ~(1u << pin)) | u32{level} << pin;
  if (is_level(state_.entries[pin]))
    deliver_level(pin);
  else if (!before && asserted(pin) && !(state_.entries[pin] & masked))
    deliver(pin);
}

void IoApic::eoi(u8 vector) {
  for (unsigned pin = 0; pin < pins; ++pin) {
    if (!(state_.entries[pin] & remote_irr) || static_cast<u8>(state_.entries[pin]) != vector) continue;
    state_.entries[pin] &= ~remote_irr;
    deliver_level(pin);
  }
}

u32 IoApic::read_register(u32 index) const {
  switch (index) {
    case index_id:
    case index_arbitration: return state_.id;
    case index_version: return version_number | (pins - 1) << 16;
    default: break;
  }
  if (index < index_entries || index >= index_entries + 2 * pins) return 0xffff'ffff;
  return static_cast<u32>(state_.entries[(index - index_entries) / 2] >> (index % 2 * 32));
}

void IoApic::write_register(u32 index, u32 value) {
  if (index == index_id) state_.id = value & id_bits;
  if (index < index_entries || index >= index_entries + 2 * pins) return;
  const unsigned pin = (index - index_entries) / 2, shift = index % 2 * 32;
  const u64 changed = (u64{value} << shift) & writable, kept = state_.entries[pin] & ~(u64{0xffff'ffff} << shift);
  state_.entries[pin] = kept | changed | (state_.entries[pin] & remote_irr);
  if (!(state_.entries[pin] & level_triggered))
    state_.entries[pin] &= ~remote_irr;  // undefined for edges; software clears it so
  deliver_level(pin);
}

u32 IoApic::read(u32 offset) const {
  switch (offset) {
    case offset_index: return state_.index;
    case offset_data: return read_register(state_.index);
    default: return 0;
  }
}

void IoApic::write(u32 offset, u32 value) {
  switch (offset) {
    case offset_index: state_.index = value & 0xff; break;
    case offset_data: write_register(state_.index, value); break;
    case offset_eoi: eoi(static_cast<u8>(value)); break;
    default: break;
  }
}

}  // namespace cloister::platform
