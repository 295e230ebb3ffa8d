// Completing and faulting instructions as software must that emulates them for a guest (SDM vol. 3C, 26.5.1 and 32.2):
// VM entry does not set CR2 or DR6 for an exception that it injects, nor RF, so this code does.
#include "hypervisor/machine.hpp"

#include "hypervisor/instruction.hpp"

namespace cloister::hypervisor {
namespace {

using platform::InterruptMessage;
using silicon::Event;
using silicon::EventType;

enum Delivery : u8 { fixed = 0, lowest_priority = 1, nmi = 4 };
enum Shorthand : u8 { none = 0, self = 1, all_but_self = 3 };

unsigned physical_bits_of(const policy::CpuidTable& cpuid) {
  const unsigned bits = cpuid.get(arch::leaf::address_sizes, 0).eax & 0xff;
  return bits == 0 ? 36 : bits;  // SDM vol. 3A, 4.1.4: 36 where the leaf is missing
}

u64 timer_hz_of(const policy::CpuidTable& cpuid) {
  const u64 crystal = cpuid.get(arch::leaf::tsc, 0).ecx;
  return crystal == 0 ? silicon::tsc_hz : crystal;
}

}  // namespace

std::vector<ExitLog::Entry> ExitLog::entries() const {
  std::vector<Entry> list;
  for (u64 i = count_ > ring_.size() ? count_ - ring_.size() : 0; i < count_; ++i)
    list.push_back(ring_[i % ring_.size()]);
  return list;
}

Machine::Machine(silicon::Package& package, DomainSpec domain)
    : spec(std::move(domain)),
      physical_bits(physical_bits_of(spec.cpuid)),
      vcpu(package, memory, {.apic_id = 0, .clock = spec.clock, .seed = 0}),
      local_apic(0, silicon::tsc_hz, timer_hz_of(spec.cpuid)),
      ioapic([this](const InterruptMessage& message) { deliver(message); }),
      uart([this](u8 byte) { console.transmit(byte); },
           [this](bool level) { ioapic.set_pin(platform::com1_irq, level); }),
      bus(
          local_apic, ioapic, [this] { return now(); },
          [this](const std::optional<InterruptMessage>& sent) { apic_written(sent); }),
      msrs(spec.cpuid, spec.msr, physical_bits) {}

void Machine::complete(const silicon::Exit& exit, silicon::GeneralRegs general) {
  silicon::SystemRegs system = vcpu.system();
  const bool single_step = (general.rflags & arch::rflags::tf) != 0;
  general.rip += exit.instruction_length;
  if (code_bits(system) != 64) general.rip &= 0xffff'ffff;
  general.rflags &= ~arch::rflags::rf;
  vcpu.set_general(general);
  vcpu.clear_interrupt_shadow();
  completed = true;
  if (single_step) {
    system.dr6 |= arch::dr6::bs;
    vcpu.set_system(system);
    event = Event{.vector = arch::vector::db, .type = EventType::exception};
  }
}

void Machine::raise(const Fault& fault) {
  event = Event{.vector = fault.vector,
                .type = EventType::exception,
                .has_error = fault.error.has_value(),
                .error = fault.error.value_or(0)};
  if (fault.vector == arch::vector::pf) {
    silicon::SystemRegs system = vcpu.system();
    system.cr2 = fault.address;
    vcpu.set_system(system);
  }
  silicon::GeneralRegs general = vcpu.general();
  general.rflags |= arch::rflags::rf;  // a fault's pushed image has RF set (SDM vol. 3B, 17.3.1.1)
  vcpu.set_general(general);
}

void Machine::deliver(const InterruptMessage& message) {
  const bool addressed = message.shorthand == none ? local_apic.matches(message) : message.shorthand != all_but_self;
  if (!addressed) return;
  if (trace.wants().interrupts)
    trace.line(now(), "interrupt", "message vector={:#x} delivery={} level={}", message.vector, message.delivery,
               message.level);
  // INIT, SIPI and SMI find no other processor, and the only one does not reset itself.
  if (message.delivery == fixed || message.delivery == lowest_priority)
    local_apic.accept(message.vector, message.level);
  else if (message.delivery == nmi)
    local_apic.accept_nmi();
}

void Machine::apic_written(const std::optional<InterruptMessage>& sent) {
  if (sent) deliver(*sent);
  if (const auto vector = local_apic.take_eoi_broadcast()) ioapic.eoi(*vector);
}

LinearMemory Machine::linear(const silicon::SystemRegs& system, u64 rflags) {
  return {memory, bus, PagingState::of(system, rflags, physical_bits), system.cpl == 3};
}

}  // namespace cloister::hypervisor
