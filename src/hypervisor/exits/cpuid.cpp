// CPUID (SDM vol. 2A, CPUID): the policy's answer and its dynamic parts. Leaf 1: OSXSAVE mirrors CR4, APIC mirrors
// IA32_APIC_BASE, and EBX has the processor's APIC id. Leaves 0xB and 0x1F: each sub-leaf, even one that names no
// level, tells the x2APIC id. Leaf 0xD: EBX is the size of the save area that XCR0 enables.
#include "hypervisor/exits/cpuid_answer.hpp"
#include "hypervisor/exits/exits.hpp"
#include "policy/xsave_area.hpp"

namespace cloister::hypervisor {
namespace {

constexpr u32 apic_bit = 1u << 9, osxsave_bit = 1u << 27, ospke_bit = 1u << 4;
constexpr u32 topology_v2 = 0x1f;
constexpr u32 xsavec_bit = 1u << 1, xsaves_bit = 1u << 3;

}  // namespace

policy::CpuidRegs cpuid_answer(const policy::CpuidTable& policy, u32 leaf, u32 subleaf, const CpuidState& state) {
  policy::CpuidRegs regs = policy.get(leaf, subleaf);
  if (leaf > policy.get(arch::leaf::basic_max, 0).eax) return regs;
  if (leaf == arch::leaf::version) {
    regs.ecx &= ~osxsave_bit;
    if ((state.cr4 & arch::cr4::osxsave) != 0) regs.ecx |= osxsave_bit;
    if (!state.apic_enabled) regs.edx &= ~apic_bit;
    regs.ebx = (regs.ebx & 0x00ff'ffff) | (state.apic_id << 24);
  } else if (leaf == arch::leaf::features && subleaf == 0) {
    regs.ecx &= ~ospke_bit;
    if ((state.cr4 & arch::cr4::pke) != 0) regs.ecx |= ospke_bit;
  } else if (leaf == arch::leaf::topology || leaf == topology_v2) {
    const auto first = policy.get(leaf, 0);
    if (first != policy::CpuidRegs{}) {
      regs.ecx = (regs.ecx & ~0xffu) | (subleaf & 0xff);
      regs.edx = state.apic_id;
    }
  } else if (leaf == arch::leaf::xsave && subleaf == 0 && regs != policy::CpuidRegs{}) {
    regs.ebx = policy::standard_xsave_size(policy, state.xcr0);
  } else if (leaf == arch::leaf::xsave && subleaf == 1 && (regs.eax & (xsavec_bit | xsaves_bit)) != 0) {
    regs.ebx = policy::compacted_xsave_size(policy, state.xcr0 | state.xss);
  }
  return regs;
}

exits::Result exits::cpuid(Processor& processor, const vmx::Exit& exit) {
  vmx::GeneralRegs general = processor.vcpu.general();
  const vmx::SystemRegs system = processor.vcpu.system();
  const u32 leaf = static_cast<u32>(general.gpr[arch::rax]), subleaf = static_cast<u32>(general.gpr[arch::rcx]);
  // IA32_XSS is always 0 here (see msr_file.cpp).
  const auto regs = cpuid_answer(processor.machine.spec.cpuid, leaf, subleaf,
                                 {.cr4 = system.cr4,
                                  .xcr0 = system.xcr0,
                                  .xss = 0,
                                  .apic_enabled = processor.local_apic.enabled(),
                                  .apic_id = processor.id});
  general.gpr[arch::rax] = regs.eax;
  general.gpr[arch::rbx] = regs.ebx;
  general.gpr[arch::rcx] = regs.ecx;
  general.gpr[arch::rdx] = regs.edx;
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor
