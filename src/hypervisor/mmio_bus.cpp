// Both APICs have 32-bit registers on 16-byte boundaries (SDM vol. 3A, 11.4.1). Narrow reads see a part of the
// register; writes that are not 32 bits wide and aligned are undefined there, and ignored here.
#include "hypervisor/mmio_bus.hpp"

namespace cloister::hypervisor {

MmioBus::Device MmioBus::device_at(arch::Gpa address) const {
  const u64 page = arch::page_base(address.value);
  if (page == apic_.mmio_base() && apic_.enabled() && !apic_.x2apic()) return Device::apic;
  if (page == platform::ioapic_base) return Device::ioapic;
  return Device::others;
}

u64 MmioBus::read(arch::Gpa from, unsigned bytes) {
  const Device device = device_at(from);
  const u64 ones = bytes == 8 ? ~u64{0} : (u64{1} << (8 * bytes)) - 1;
  if (device == Device::others) return (pci_ != nullptr ? pci_->read(from, bytes).value_or(ones) : ones) & ones;
  const u32 offset = static_cast<u32>(arch::page_offset(from.value));
  const u32 reg = offset & ~3u;
  const u64 value = device == Device::apic ? apic_.read(reg, now_()) : ioapic_.read(reg);
  return (value >> (8 * (offset & 3))) & ones;
}

void MmioBus::write(arch::Gpa to, u64 value, unsigned bytes) {
  const Device device = device_at(to);
  const u32 offset = static_cast<u32>(arch::page_offset(to.value));
  if (device == Device::others) {
    if (pci_ != nullptr) pci_->write(to, value, bytes);
    return;
  }
  if (bytes != 4 || (offset & 3) != 0) return;
  if (device == Device::ioapic) return ioapic_.write(offset, static_cast<u32>(value));
  sent_(apic_.write(offset, static_cast<u32>(value), now_()));
}

}  // namespace cloister::hypervisor
