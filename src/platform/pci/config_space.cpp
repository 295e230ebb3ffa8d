#include "platform/pci/config_space.hpp"

namespace cloister::platform::pci {

ConfigSpace::ConfigSpace(const Identity& identity) {
  const auto at = [](std::array<u32, registers>& of, u16 offset) -> u32& { return of[offset / 4]; };
  at(fixed_, reg_id) = u32{identity.device} << 16 | identity.vendor;
  at(fixed_, reg_class) = identity.class_code << 8 | identity.revision;
  at(fixed_, reg_subsystem) = u32{identity.subsystem} << 16 | identity.subsystem_vendor;
  at(writable_, reg_command) = command_memory | command_master | command_no_intx;
  at(writable_, reg_cache_line) = 0xff;
  if (!identity.intx) return;
  at(fixed_, reg_interrupt) = 1u << 8;
  at(writable_, reg_interrupt) = 0xff;
}

void ConfigSpace::set_state(const State& state) {
  for (unsigned i = 0; i < registers; ++i) state_.written[i] = state.written[i] & writable_[i];
}

u32 ConfigSpace::read(u16 offset) const {
  const unsigned index = offset / 4;
  return index < registers ? fixed_[index] | state_.written[index] : 0;
}

void ConfigSpace::write(u16 offset, u32 value, u32 enables) {
  const unsigned index = offset / 4;
  if (index >= registers) return;
  const u32 bits = writable_[index] & enables;
  u32& written = state_.written[index];
  written = (written & ~bits) | (value & bits);
}

void ConfigSpace::add_bar(unsigned bar, u64 bytes, bool wide) {
  const unsigned index = bar_register(bar);
  bar_bytes_[bar] = bytes;
  fixed_[index] = wide ? bar_64 | bar_prefetchable : 0;
  writable_[index] = static_cast<u32>(~(bytes - 1));
  if (wide) writable_[index + 1] = static_cast<u32>(~(bytes - 1) >> 32);
}

void ConfigSpace::place_bar(unsigned bar, u64 base) {
  const u16 offset = static_cast<u16>(reg_bar0 + 4 * bar);
  write(offset, static_cast<u32>(base), ~u32{0});
  if (is_wide(bar)) write(static_cast<u16>(offset + 4), static_cast<u32>(base >> 32), ~u32{0});
}

std::optional<u64> ConfigSpace::bar_base(unsigned bar) const {
  if (bar_bytes_[bar] == 0 || (state_.written[reg_command / 4] & command_memory) == 0) return std::nullopt;
  const unsigned index = bar_register(bar);
  return state_.written[index] | (is_wide(bar) ? u64{state_.written[index + 1]} << 32 : 0);
}

u16 ConfigSpace::add_capability(u8 id, std::span<const u8> body, std::span<const u8> writable) {
  constexpr unsigned head = 2;
  const u16 offset = capabilities_end_;
  const auto put = [](std::array<u32, registers>& to, unsigned byte, u8 value) {
    to[byte / 4] |= u32{value} << (8 * (byte % 4));
  };
  put(fixed_, offset, id);
  for (unsigned i = 0; i < body.size(); ++i) put(fixed_, offset + head + i, body[i]);
  for (unsigned i = 0; i < writable.size(); ++i) put(writable_, offset + head + i, writable[i]);
  // What may be written begins with its fixed value, and is not fixed.
  for (unsigned i = offset / 4; i * 4 < offset + head + body.size(); ++i) {
    state_.written[i] = fixed_[i] & writable_[i];
    fixed_[i] &= ~writable_[i];
  }
  put(fixed_, last_pointer_, static_cast<u8>(offset));
  fixed_[reg_command / 4] |= status_capabilities;
  last_pointer_ = static_cast<u16>(offset + 1);
  capabilities_end_ = static_cast<u16>((offset + head + body.size() + 3) / 4 * 4);
  return offset;
}

}  // namespace cloister::platform::pci
