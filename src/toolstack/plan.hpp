// A domain as it would be built: the configuration, and what follows from it and from the processor.
#pragma once

#include <functional>
#include <tl/expected.hpp>

#include "platform/memory_map.hpp"
#include "policy/policy.hpp"
#include "toolstack/chosen_silicon.hpp"
#include "toolstack/config.hpp"

namespace cloister::toolstack {

struct DomainPlan {
  DomainConfig config;
  DescribedSilicon silicon;
  platform::MemoryMap map;
  policy::CpuidTable cpuid;
  policy::MsrPolicy msr;
};

/// `raw`: the processor's CPUID, and `silicon` how it came about. The error stands at the key that asks for what cannot
/// be had.
tl::expected<DomainPlan, Diagnostic> make_plan(const DomainConfig& config,
                                               const std::function<arch::CpuidRegs(u32, u32)>& raw,
                                               const DescribedSilicon& silicon = {});

}  // namespace cloister::toolstack
