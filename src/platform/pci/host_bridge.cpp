#include "platform/pci/host_bridge.hpp"

#include <utility>

#include "platform/bytes.hpp"

namespace cloister::platform::pci {
namespace {

constexpr u32 address_enable = 1u << 31;
constexpr u32 address_bits = address_enable | 0xff'fffc;
constexpr u64 function_space = 0x1000;  // of a function, in ECAM
constexpr u32 function_number = 7;      // of where: bus, device and function as in the address port, from bit 0 on

constexpr u16 register_at(u16 offset) { return static_cast<u16>(offset / 4 * 4); }

constexpr u32 ones(unsigned size) { return size == 4 ? ~u32{0} : (u32{1} << (8 * size)) - 1; }

}  // namespace

// As QEMU's generic host bridge, which no driver looks for: Red Hat's ID for it.
HostBridge::Bridge::Bridge() : Function({.vendor = 0x1b36, .device = 0x0008, .class_code = 0x06'0000}) {}

HostBridge::HostBridge(const PciWindows& windows, Irq irq)
    : windows_(windows), next_low_(windows.low.value), next_high_(windows.high.value), irq_(std::move(irq)) {
  devices_.push_back(&bridge_);
  for (u32 gsi = first_gsi; gsi < first_gsi + gsis; ++gsi) irq_(gsi, false);
}

void HostBridge::set_state(const State& state) {
  address_ = state.address & address_bits;
  bridge_.config().set_state(state.config);
}

bool HostBridge::add(Function& function) {
  if (devices_.size() == most_devices) return false;
  ConfigSpace& config = function.config();
  for (unsigned bar = 0; bar < bar_count; ++bar) {
    const u64 bytes = config.bar_bytes(bar);
    if (bytes == 0) continue;
    const bool wide = config.is_wide(bar);
    u64& next = wide ? next_high_ : next_low_;
    const u64 end = wide ? windows_.high.value + windows_.high_bytes : windows_.low.value + windows_.low_bytes;
    const u64 base = align_up(next, bytes);
    if (base > end || bytes > end - base) return false;
    config.place_bar(bar, base);
    next = base + bytes;
  }
  config.write(reg_command, command_memory, command_memory);
  const unsigned device = static_cast<unsigned>(devices_.size());
  function.line_changed = [this, device] { tell_line(device); };
  devices_.push_back(&function);
  return true;
}

void HostBridge::tell_line(unsigned device) {
  bool asserted = false;
  for (unsigned other = device % gsis; other < devices_.size(); other += gsis) asserted |= devices_[other]->line();
  irq_(gsi_of(device), asserted);
}

Function* HostBridge::function_at(u32 where) const {
  const u32 device = where >> 3;  // with the bus above it, which is 0
  return (where & function_number) == 0 && device < devices_.size() ? devices_[device] : nullptr;
}

u32 HostBridge::read_config(u32 where, u16 offset, unsigned size) {
  Function* const function = function_at(where);
  if (function == nullptr) return ones(size);
  const unsigned shift = 8 * (offset % 4);
  return function->read_config(register_at(offset), ones(size) << shift) >> shift & ones(size);
}

void HostBridge::write_config(u32 where, u16 offset, u32 value, unsigned size) {
  const unsigned shift = 8 * (offset % 4);
  if (Function* const function = function_at(where))
    function->write_config(register_at(offset), value << shift, ones(size) << shift);
}

// Only 32 bits at once are the address (PCI Local Bus 3.0, 3.2.2.3.2); the rest passes through to ports that are not
// there.
u32 HostBridge::read_port(u16 port, unsigned size) {
  if (port < data_port) return port == address_port && size == 4 ? address_ : ones(size);
  const u16 offset = static_cast<u16>((address_ & 0xfc) + (port - data_port));
  if ((address_ & address_enable) == 0 || port - data_port + size > 4) return ones(size);
  return read_config(address_ >> 8 & 0xffff, offset, size);
}

void HostBridge::write_port(u16 port, u32 value, unsigned size) {
  if (port < data_port) {
    if (port == address_port && size == 4) address_ = value & address_bits;
    return;
  }
  const u16 offset = static_cast<u16>((address_ & 0xfc) + (port - data_port));
  if ((address_ & address_enable) == 0 || port - data_port + size > 4) return;
  write_config(address_ >> 8 & 0xffff, offset, value, size);
}

std::optional<HostBridge::Place> HostBridge::find(u64 address) const {
  for (Function* const function : devices_) {
    for (unsigned bar = 0; bar < bar_count; ++bar) {
      const auto base = function->config().bar_base(bar);
      if (base && address >= *base && address - *base < function->config().bar_bytes(bar))
        return Place{function, bar, address - *base};
    }
  }
  return std::nullopt;
}

std::optional<u64> HostBridge::read(arch::Gpa from, unsigned size) {
  if (const u64 offset = from - windows_.ecam; from >= windows_.ecam && offset < windows_.ecam_bytes) {
    const u32 where = static_cast<u32>(offset / function_space);
    const u16 at = offset % function_space;
    if (at % 4 + size > 4 && (size != 8 || at % 4 != 0)) return std::nullopt;  // crosses registers
    const u64 low = read_config(where, at, size == 8 ? 4 : size);
    return size == 8 ? low | u64{read_config(where, static_cast<u16>(at + 4), 4)} << 32 : low;
  }
  const auto place = find(from.value);
  if (!place) return std::nullopt;
  return place->function->read_memory(place->bar, place->offset, size);
}

bool HostBridge::write(arch::Gpa to, u64 value, unsigned size) {
  if (const u64 offset = to - windows_.ecam; to >= windows_.ecam && offset < windows_.ecam_bytes) {
    const u32 where = static_cast<u32>(offset / function_space);
    const u16 at = offset % function_space;
    if (at % 4 + size > 4 && (size != 8 || at % 4 != 0)) return false;
    write_config(where, at, static_cast<u32>(value), size == 8 ? 4 : size);
    if (size == 8) write_config(where, static_cast<u16>(at + 4), static_cast<u32>(value >> 32), 4);
    return true;
  }
  const auto place = find(to.value);
  if (place) place->function->write_memory(place->bar, place->offset, value, size);
  return place.has_value();
}

}  // namespace cloister::platform::pci
