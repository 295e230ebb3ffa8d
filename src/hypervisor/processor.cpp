// Completing and faulting instructions as software must that emulates them for a guest (SDM vol. 3C, 26.5.1 and 32.2):
// VM entry does not set CR2 or DR6 for an exception that it injects, nor RF, so this code does. And the state after
// INIT (SDM vol. 3A, table 10-1), which a hypervisor likewise sets by value.
#include "hypervisor/processor.hpp"

#include <sys/eventfd.h>

#include "hypervisor/instruction.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {
namespace {

using platform::InterruptMessage;
using vmx::Event;
using vmx::EventType;

constexpr u32 real_code = 0x9b, real_data = 0x93, ldt = 0x82, real_tss = 0x8b;

u64 timer_hz_of(const policy::CpuidTable& cpuid) {
  const u64 crystal = cpuid.get(arch::leaf::tsc, 0).ecx;
  return crystal == 0 ? vmx::tsc_hz : crystal;
}

}  // namespace

std::vector<ExitLog::Entry> ExitLog::entries() const {
  std::vector<Entry> list;
  for (u64 i = count_ > ring_.size() ? count_ - ring_.size() : 0; i < count_; ++i)
    list.push_back(ring_[i % ring_.size()]);
  return list;
}

Processor::Processor(Machine& domain, vmx::Package& package, u32 number)
    : machine(domain),
      id(number),
      own_vcpu(package.make_vcpu(machine.memory,
                                 {.apic_id = id, .clock = machine.spec.clock, .seed = id, .time = &machine.time})),
      vcpu(*own_vcpu),
      local_apic(id, vmx::tsc_hz, timer_hz_of(machine.spec.cpuid)),
      bus(
          local_apic, machine.ioapic, machine.pci.get(), [this] { return now(); },
          [this](const std::optional<InterruptMessage>& sent) { apic_written(sent); }),
      msrs(machine.spec.cpuid, machine.spec.msr, machine.physical_bits),
      waits_for_startup(id != 0),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  std::vector<vmx::CpuidEntry> entries;
  for (const auto& [where, regs] : machine.spec.cpuid.leaves()) entries.push_back({where.first, where.second, regs});
  vcpu.set_cpuid(entries);
}

void Processor::notify() {
  stuck = false;
  if (activity == Activity::running) vcpu.kick();
  if (activity == Activity::waiting) {
    const u64 one = 1;
    // A full counter is readable already, which is all that matters.
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  }
}

void Processor::drain() {
  u64 count;
  [[maybe_unused]] const ssize_t taken = ::read(wake_.get(), &count, sizeof count);
}

void Processor::reset_registers() {
  vmx::SystemRegs system = vcpu.system();
  system.seg.fill({.selector = 0, .base = 0, .limit = 0xffff, .attributes = real_data});
  system.seg[arch::seg_cs] = {.selector = 0xf000, .base = 0xffff'0000, .limit = 0xffff, .attributes = real_code};
  system.ldtr = {.selector = 0, .base = 0, .limit = 0xffff, .attributes = ldt};
  system.tr = {.selector = 0, .base = 0, .limit = 0xffff, .attributes = real_tss};
  system.gdtr = system.idtr = {.base = 0, .limit = 0xffff};
  system.cr0 = (system.cr0 & (arch::cr0::cd | arch::cr0::nw)) | arch::cr0::et;
  system.cr2 = system.cr3 = system.cr4 = system.efer = 0;
  system.dr = {};
  system.dr6 = arch::dr6::fixed1;
  system.dr7 = arch::dr7::fixed1;
  vcpu.set_system(system);
  vmx::GeneralRegs general;
  general.gpr[arch::rdx] = machine.spec.cpuid.get(arch::leaf::version, 0).eax;
  general.rip = 0xfff0;
  vcpu.set_general(general);
  vcpu.clear_interrupt_shadow();
  event.reset();
  halted = nmi_waiting = false;
  waits_for_startup = true;
}

void Processor::take_startup_messages() {
  if (std::exchange(init_wanted, false)) {
    reset_registers();
    local_apic.init();
  }
  if (!waits_for_startup || !startup_page) return;
  vmx::SystemRegs system = vcpu.system();
  vmx::Segment& cs = system.seg[arch::seg_cs];
  cs.selector = static_cast<u16>(*startup_page << 8);
  cs.base = u64{*startup_page} << 12;
  vcpu.set_system(system);
  vmx::GeneralRegs general = vcpu.general();
  general.rip = 0;
  vcpu.set_general(general);
  startup_page.reset();
  waits_for_startup = false;
}

void Processor::power_up() {
  reset_registers();
  init_wanted = false;
  startup_page.reset();
  local_apic.reset();
  msrs.reset();
  vcpu.set_xcr0(1);
}

void Processor::complete(const vmx::Exit& exit, vmx::GeneralRegs general) {
  vmx::SystemRegs system = vcpu.system();
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

void Processor::raise(const Fault& fault) {
  event = Event{.vector = fault.vector,
                .type = EventType::exception,
                .has_error = fault.error.has_value(),
                .error = fault.error.value_or(0)};
  if (fault.vector == arch::vector::pf) {
    vmx::SystemRegs system = vcpu.system();
    system.cr2 = fault.address;
    vcpu.set_system(system);
  }
  vmx::GeneralRegs general = vcpu.general();
  general.rflags |= arch::rflags::rf;  // a fault's pushed image has RF set (SDM vol. 3B, 17.3.1.1)
  vcpu.set_general(general);
}

void Processor::apic_written(const std::optional<InterruptMessage>& sent) {
  if (sent) machine.deliver(*sent, this);
  if (const auto vector = local_apic.take_eoi_broadcast()) machine.ioapic.eoi(*vector);
}

LinearMemory Processor::linear(const vmx::SystemRegs& system, u64 rflags) {
  return {machine.memory, bus, PagingState::of(system, rflags, machine.physical_bits), system.cpl == 3};
}

}  // namespace cloister::hypervisor
