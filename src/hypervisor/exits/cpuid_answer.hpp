// What CPUID returns: the domain's policy, with the bits and sizes that follow the processor's present state.
#pragma once

#include "policy/policy.hpp"

namespace cloister::hypervisor {

struct CpuidState {
  u64 cr4 = 0, xcr0 = 1, xss = 0;
  bool apic_enabled = true;
  u32 apic_id = 0;  ///< of the processor that asks
};

policy::CpuidRegs cpuid_answer(const policy::CpuidTable& policy, u32 leaf, u32 subleaf, const CpuidState& state);

}  // namespace cloister::hypervisor
