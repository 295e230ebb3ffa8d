// Which CPUID leaves have sub-leaves, and how a processor says where they end (SDM vol. 2A, CPUID, table 3-8).
#pragma once

#include <functional>

#include "arch/cpuid.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

inline constexpr u32 topology_v2 = 0x1f;

/// The answer depends on ECX.
bool has_subleaves(u32 leaf);

/// Every leaf and sub-leaf that the processor reports.
CpuidTable read_processor(const std::function<CpuidRegs(u32, u32)>& raw);

}  // namespace cloister::policy
