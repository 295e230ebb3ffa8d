#include "platform/pci/msix.hpp"

#include <utility>

namespace cloister::platform::pci {
namespace {

constexpr u64 entry_bytes = 16;
enum Field : u64 { field_address = 0, field_address_high = 4, field_data = 8, field_control = 12 };
constexpr u32 vector_masked = 1;

}  // namespace

std::optional<InterruptMessage> message_of(u64 address, u32 data) {
  constexpr u64 local_apics = 0xfee;
  if (address >> 20 != local_apics) return std::nullopt;
  return InterruptMessage{.destination = static_cast<u32>(address >> 12 & 0xff),
                          .logical = (address >> 2 & 1) != 0,
                          .shorthand = 0,
                          .delivery = static_cast<u8>(data >> 8 & 7),
                          .vector = static_cast<u8>(data),
                          .level = (data >> 15 & 1) != 0};
}

Msix::Msix(unsigned vectors, Send send) : send_(std::move(send)) { state_.table.resize(vectors); }

bool Msix::set_state(const State& state) {
  if (state.table.size() != state_.table.size()) return false;
  if (vectors() < most_vectors && state.pending >> vectors() != 0) return false;
  state_ = state;
  return true;
}

void Msix::control(u16 value) {
  state_.enabled = (value & control_enable) != 0;
  state_.masked = (value & control_mask) != 0;
  send_pending();
}

void Msix::signal(unsigned vector) {
  if (!state_.enabled || vector >= vectors()) return;
  state_.pending |= u64{1} << vector;
  send_pending();
}

void Msix::send_pending() {
  if (!state_.enabled || state_.masked || state_.pending == 0) return;
  for (unsigned vector = 0; vector < vectors(); ++vector) {
    const Entry& entry = state_.table[vector];
    if ((state_.pending >> vector & 1) == 0 || entry.masked) continue;
    state_.pending &= ~(u64{1} << vector);
    if (const auto message = message_of(entry.address, entry.data)) send_(*message);
  }
}

u64 Msix::read(u64 offset, unsigned size) const {
  if ((size != 4 && size != 8) || offset % size != 0) return 0;
  const u64 low = read_register(offset);
  return size == 4 ? low : low | u64{read_register(offset + 4)} << 32;
}

void Msix::write(u64 offset, u64 value, unsigned size) {
  if ((size != 4 && size != 8) || offset % size != 0) return;
  write_register(offset, static_cast<u32>(value));
  if (size == 8) write_register(offset + 4, static_cast<u32>(value >> 32));
}

u32 Msix::read_register(u64 offset) const {
  if (offset == pending_offset) return static_cast<u32>(state_.pending);
  if (offset == pending_offset + 4) return static_cast<u32>(state_.pending >> 32);
  const u64 vector = (offset - table_offset) / entry_bytes;
  if (vector >= vectors()) return 0;
  const Entry& entry = state_.table[vector];
  switch (offset % entry_bytes) {
    case field_address: return static_cast<u32>(entry.address);
    case field_address_high: return static_cast<u32>(entry.address >> 32);
    case field_data: return entry.data;
    default: return entry.masked ? vector_masked : 0;
  }
}

void Msix::write_register(u64 offset, u32 value) {
  const u64 vector = (offset - table_offset) / entry_bytes;
  if (vector >= vectors()) return;
  Entry& entry = state_.table[vector];
  switch (offset % entry_bytes) {
    case field_address: entry.address = (entry.address >> 32 << 32) | (value & ~u32{3}); break;
    case field_address_high: entry.address = (entry.address & 0xffff'ffff) | u64{value} << 32; break;
    case field_data: entry.data = value; break;
    default: entry.masked = (value & vector_masked) != 0; send_pending();
  }
}

}  // namespace cloister::platform::pci
