// RDMSR and WRMSR: ECX names the MSR, EDX:EAX is the value (SDM vol. 2B). The processor checked CPL before it exited.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result rdmsr(Machine& machine, const silicon::Exit& exit) {
  silicon::GeneralRegs general = machine.vcpu.general();
  const u32 index = static_cast<u32>(general.gpr[arch::rcx]);
  const auto value = machine.msrs.read(index, machine);
  if (machine.trace.wants().msr)
    machine.trace.line(machine.now(), "msr", "rdmsr={:#x} {}={:#x} rip={:#x}", index, value ? "value" : "fault",
                       value.value_or(arch::vector::gp), general.rip);
  if (!value) {
    machine.raise_gp();
    return std::nullopt;
  }
  general.gpr[arch::rax] = *value & 0xffff'ffff;
  general.gpr[arch::rdx] = *value >> 32;
  machine.complete(exit, general);
  return std::nullopt;
}

Result wrmsr(Machine& machine, const silicon::Exit& exit) {
  const silicon::GeneralRegs general = machine.vcpu.general();
  const u32 index = static_cast<u32>(general.gpr[arch::rcx]);
  const u64 value = (general.gpr[arch::rdx] << 32) | (general.gpr[arch::rax] & 0xffff'ffff);
  const bool accepted = machine.msrs.write(index, value, machine);
  if (machine.trace.wants().msr)
    machine.trace.line(machine.now(), "msr", "wrmsr={:#x} value={:#x} {} rip={:#x}", index, value,
                       accepted ? "done" : "fault=0xd", general.rip);
  if (accepted)
    machine.complete(exit, general);
  else
    machine.raise_gp();
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
