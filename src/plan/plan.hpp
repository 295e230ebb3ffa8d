// A domain as it would be built: the configuration, and what follows from it and from the processor.
#pragma once

#include <functional>
#include <span>
#include <tl/expected.hpp>

#include "config/config.hpp"
#include "plan/chosen_silicon.hpp"
#include "platform/memory_map.hpp"
#include "policy/policy.hpp"
#include "vmx/package.hpp"

namespace cloister::toolstack {

/// The MSRs of a machine whose launch-key hash can be written.
inline policy::MsrPolicy unlocked_machine() { return {.sgx = true, .launch_control = true}; }

struct DomainPlan {
  DomainConfig config;
  DescribedSilicon silicon;
  platform::MemoryMap map;
  policy::CpuidTable cpuid;
  policy::MsrPolicy msr;
};

/// `raw`: the processor's CPUID, `silicon` how it came about, and `machine` its MSRs. `packages`: of each EPC section,
/// the package that its frames are of; absent: what the configuration names, or 0. The guest has a NUMA node for each
/// package that it has EPC of, in their order. The error stands at the key that asks for what cannot be had.
tl::expected<DomainPlan, Diagnostic> make_plan(const DomainConfig& config,
                                               const std::function<arch::CpuidRegs(u32, u32)>& raw,
                                               std::span<const u32> packages = {}, const DescribedSilicon& silicon = {},
                                               const policy::MsrPolicy& machine = unlocked_machine());
/// The same of a domain on such a package.
tl::expected<DomainPlan, Diagnostic> make_plan(const vmx::Backend& backend, const DomainConfig& config,
                                               const vmx::Package::Config& package, std::span<const u32> packages,
                                               const DescribedSilicon& silicon = {});

/// Enclaves have no XSAVE component that the domain's CPUID does not list (SDM vol. 3D, 38.3, ECREATE), whatever its
/// configuration took away.
void limit_xfrm(vmx::Package::Config& package, const policy::CpuidTable& cpuid);

}  // namespace cloister::toolstack
