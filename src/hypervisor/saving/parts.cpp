#include "hypervisor/saving/parts.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cloister::hypervisor {
namespace {

/// To pass over so many takes seconds, and no guest has asked for more.
constexpr u64 most_drawn = u64{1} << 32;

}  // namespace

MachineState WholeMachine::state() const {
  has_lock();
  return {.asleep = machine.sleep == Machine::Sleep::asleep, .crash_kernel_runs = machine.crash_kernel_runs};
}

void WholeMachine::set_state(const MachineState& saved) const {
  has_lock();
  machine.sleep = saved.asleep ? Machine::Sleep::asleep : Machine::Sleep::awake;
  machine.crash_kernel_runs = saved.crash_kernel_runs;
}

EpcState EpcWithoutEnclaves::state() const {
  EpcState state{.target = machine.balloon.target};
  std::vector<arch::Gpa> given;
  if (machine.pager != nullptr) given = machine.pager->given_pages();
  if (machine.fixed_epc != nullptr) given = machine.fixed_epc->given_pages();
  for (const arch::Gpa page : given) state.given.push_back(page.value);
  return state;
}

Loaded EpcWithoutEnclaves::set_state(const EpcState& saved) const {
  machine.balloon.target = std::min(saved.target, machine.epc_pages.pages());
  std::vector<arch::Gpa> given;
  for (const u64 page : saved.given) given.push_back(arch::Gpa{page});
  if (given.empty()) return {};
  const Ballooned done = machine.give_epc(given).value_or(Ballooned{});
  if (done.pages != given.size())
    return tl::unexpected(fmt::format("{:#x} is no page of EPC that can be given back", given[done.pages].value));
  return {};
}

ProcessorState OneProcessor::state() const {
  const vmx::Vcpu& vcpu = processor.vcpu;
  ProcessorState state{.general = vcpu.general(),
                       .system = vcpu.system(),
                       .fpu = vcpu.fpu(),
                       .interruptibility = vcpu.interruptibility(),
                       .drawn = vcpu.drawn(),
                       .silicon_msrs = {},
                       .hypervisor_msrs = processor.msrs.written(),
                       .event = processor.event,
                       .halted = processor.halted,
                       .nmi_waiting = processor.nmi_waiting,
                       .init_wanted = processor.init_wanted,
                       .waits_for_startup = processor.waits_for_startup,
                       .startup_page = processor.startup_page};
  for (const u32 index : MsrFile::in_silicon()) {
    if (const auto value = vcpu.read_msr(index)) state.silicon_msrs[index] = *value;
  }
  return state;
}

/// What VM entry checks of a guest's state, as far as a processor relies on it (SDM vol. 3C, 27.3.1.1).
bool OneProcessor::can_be(const ProcessorState& saved) {
  namespace c0 = arch::cr0;
  namespace e = arch::efer;
  const vmx::SystemRegs& s = saved.system;
  const bool paging = (s.cr0 & c0::pg) != 0, long_mode = (s.efer & e::lme) != 0 && paging;
  const bool modes = (!paging || (s.cr0 & c0::pe) != 0) && ((s.efer & e::lma) != 0) == long_mode &&
                     (!long_mode || (s.cr4 & arch::cr4::pae) != 0) && ((s.cr4 & arch::cr4::pcide) == 0 || long_mode);
  const bool upper_halves =
      (s.cr0 | s.cr4 | s.dr6 | s.dr7) >> 32 == 0 && (s.efer & ~(e::sce | e::lme | e::lma | e::nxe)) == 0;
  return modes && upper_halves && s.cr8 < 16;
}

Loaded OneProcessor::set_state(const ProcessorState& saved) const {
  vmx::Vcpu& vcpu = processor.vcpu;
  if (saved.drawn > most_drawn)
    return tl::unexpected(fmt::format("found {} random numbers drawn, expected at most {}", saved.drawn, most_drawn));
  // Without it there is no record of what it adds.
  const bool has_avx = (offered_xcr0(processor.machine.spec) & avx_component) != 0;
  if ((!has_avx && (saved.system.xcr0 & avx_component) != 0) || !vcpu.set_xcr0(saved.system.xcr0))
    return tl::unexpected(fmt::format("XCR0 cannot be {:#x} here", saved.system.xcr0));
  vcpu.set_system(saved.system);
  vcpu.set_general(saved.general);
  vcpu.set_fpu(saved.fpu);
  vcpu.set_drawn(saved.drawn);
  for (const auto& [index, value] : saved.silicon_msrs) {
    if (vcpu.read_msr(index) != value && !vcpu.write_msr(index, value))
      return tl::unexpected(fmt::format("MSR {:#x} cannot be {:#x} here", index, value));
  }
  if (const auto refused = processor.msrs.set_written(saved.hypervisor_msrs))
    return tl::unexpected(fmt::format("MSR {:#x} is none that is kept", *refused));
  vcpu.set_interruptibility(saved.interruptibility);
  processor.event = saved.event;
  processor.halted = saved.halted;
  processor.nmi_waiting = saved.nmi_waiting;
  processor.init_wanted = saved.init_wanted;
  processor.waits_for_startup = saved.waits_for_startup;
  processor.startup_page = saved.startup_page;
  return {};
}

}  // namespace cloister::hypervisor
