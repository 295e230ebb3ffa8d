// XSETBV (SDM vol. 2D): ECX 0 is XCR0. What CPUID does not offer raises #GP, as do the combinations that the processor
// refuses.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result xsetbv(Processor& processor, const vmx::Exit& exit) {
  const vmx::GeneralRegs general = processor.vcpu.general();
  const u64 value = (general.gpr[arch::rdx] << 32) | (general.gpr[arch::rax] & 0xffff'ffff);
  const auto leaf = processor.machine.spec.cpuid.get(arch::leaf::xsave, 0);
  const u64 offered = (u64{leaf.edx} << 32) | leaf.eax;
  const bool other_register = static_cast<u32>(general.gpr[arch::rcx]) != 0;
  if (other_register || processor.vcpu.system().cpl != 0 || (value & ~offered) != 0 ||
      !processor.vcpu.set_xcr0(value)) {
    processor.raise_gp();
    return std::nullopt;
  }
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
