// RDMSR and WRMSR: ECX names the MSR, EDX:EAX is the value (SDM vol. 2B). The processor checked CPL before it exited.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result rdmsr(Processor& processor, const vmx::Exit& exit) {
  vmx::GeneralRegs general = processor.vcpu.general();
  const u32 index = static_cast<u32>(general.gpr[arch::rcx]);
  const auto value = processor.msrs.read(index, processor);
  if (processor.machine.trace.wants().msr)
    processor.machine.trace.line(processor.now(), "msr", "rdmsr={:#x} {}={:#x} rip={:#x}", index,
                                 value ? "value" : "fault", value.value_or(arch::vector::gp), general.rip);
  if (!value) {
    processor.raise_gp();
    return std::nullopt;
  }
  general.gpr[arch::rax] = *value & 0xffff'ffff;
  general.gpr[arch::rdx] = *value >> 32;
  processor.complete(exit, general);
  return std::nullopt;
}

Result wrmsr(Processor& processor, const vmx::Exit& exit) {
  const vmx::GeneralRegs general = processor.vcpu.general();
  const u32 index = static_cast<u32>(general.gpr[arch::rcx]);
  const u64 value = (general.gpr[arch::rdx] << 32) | (general.gpr[arch::rax] & 0xffff'ffff);
  const bool accepted = processor.msrs.write(index, value, processor);
  if (processor.machine.trace.wants().msr)
    processor.machine.trace.line(processor.now(), "msr", "wrmsr={:#x} value={:#x} {} rip={:#x}", index, value,
                                 accepted ? "done" : "fault=0xd", general.rip);
  if (accepted)
    processor.complete(exit, general);
  else
    processor.raise_gp();
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
