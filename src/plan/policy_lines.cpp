// CPUID: SDM vol. 2A, CPUID, table 3-8; MSRs: vol. 4, table 2-2.
#include "plan/policy_lines.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

using arch::CpuidRegs;

std::vector<std::string> names_of_bits(u32 leaf, u32 subleaf, const CpuidRegs& regs) {
  std::vector<std::string> names;
  if (leaf == arch::leaf::sgx && subleaf >= 2) {
    const u64 base = (u64{regs.ebx & 0xf'ffff} << 32) | (regs.eax & 0xffff'f000);
    const u64 bytes = (u64{regs.edx & 0xf'ffff} << 32) | (regs.ecx & 0xffff'f000);
    if ((regs.eax & 0xf) != 0) names.push_back(fmt::format("EPC {:#x}-{:#x}", base, base + bytes - 1));
    return names;
  }
  const policy::Feature* last = nullptr;
  for (const policy::Feature& feature : policy::features()) {
    if (feature.leaf != leaf || feature.subleaf != subleaf) continue;
    const bool alias = last != nullptr && *last == feature;
    if (!alias && arch::has(regs, feature)) names.emplace_back(feature.name);
    last = &feature;
  }
  if (leaf == arch::leaf::sgx && subleaf == 0) {
    names.push_back(fmt::format("enclaves below 2^{} bytes", (regs.edx >> 8) & 0xff));
  }
  if (leaf == arch::leaf::sgx && subleaf == 1) {
    names.push_back(fmt::format("XFRM {:#x}", (u64{regs.edx} << 32) | regs.ecx));
  }
  return names;
}

std::vector<MsrLine> msr_lines(const policy::MsrPolicy& policy) {
  namespace msr = arch::msr;
  std::vector<MsrLine> lines{{msr::feature_control, "IA32_FEATURE_CONTROL", true, policy.feature_control(), false}};
  const bool there = policy.sgx && policy.launch_control;
  const bool writable = (policy.feature_control() & msr::feature_control_bits::sgx_launch_control) != 0;
  for (u32 n = 0; n < policy.lepubkeyhash.size(); ++n) {
    lines.push_back(
        {msr::sgxlepubkeyhash0 + n, fmt::format("IA32_SGXLEPUBKEYHASH{}", n), there, policy.lepubkeyhash[n], writable});
  }
  return lines;
}

}  // namespace cloister::toolstack
