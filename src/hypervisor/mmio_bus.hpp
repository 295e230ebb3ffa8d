// Guest-physical addresses that are not RAM: the local APIC's page, the I/O APIC's, what a PCI bus answers to if there
// is one, and nothing else. What nobody answers reads all ones and swallows writes, as a PC's bus does; so does an EPC
// page (the abort page).
#pragma once

#include <functional>

#include "platform/platform.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class MmioBus {
 public:
  using Now = std::function<u64()>;
  /// Called with the message that a write to the local APIC sent, and after every such write.
  using Sent = std::function<void(const std::optional<platform::InterruptMessage>&)>;
  MmioBus(platform::LocalApic& apic, platform::IoApic& ioapic, platform::pci::HostBridge* pci, Now now, Sent sent)
      : apic_(apic), ioapic_(ioapic), pci_(pci), now_(std::move(now)), sent_(std::move(sent)) {}

  /// bytes: 1, 2, 4 or 8, within one page.
  u64 read(arch::Gpa from, unsigned bytes);
  void write(arch::Gpa to, u64 value, unsigned bytes);

 private:
  enum class Device : u8 { others, apic, ioapic };
  Device device_at(arch::Gpa address) const;

  platform::LocalApic& apic_;
  platform::IoApic& ioapic_;
  platform::pci::HostBridge* pci_;  ///< null: there is no bus
  Now now_;
  Sent sent_;
};

}  // namespace cloister::hypervisor
