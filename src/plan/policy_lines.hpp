// Policies as a person reads them: names of CPUID bits, and the MSRs that depend on the domain.
#pragma once

#include <string>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::toolstack {

/// The first name of each bit that is set; sub-leaves of leaf 12H from 2 on have numbers rather than bits.
std::vector<std::string> names_of_bits(u32 leaf, u32 subleaf, const arch::CpuidRegs& regs);

struct MsrLine {
  u32 index;
  std::string name;
  bool present;  ///< absent: reading raises #GP
  u64 value;
  bool writable;
};
std::vector<MsrLine> msr_lines(const policy::MsrPolicy& policy);

}  // namespace cloister::toolstack
