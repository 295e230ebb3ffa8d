// CPUID of a package on any host, for whoever has but one.
#pragma once

#include "silicon/silicon.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {

/// What is asked for, as far as it is implemented on a host with these features.
SgxFeatures implemented_on(const HostFeatures& host, const SgxFeatures& asked);
/// Package::cpuid() on such a host.
CpuidRegs cpuid_on(const HostFeatures& host, const Package::Config& config, u32 leaf, u32 subleaf);

}  // namespace cloister::silicon
