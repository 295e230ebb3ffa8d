// CPUID of a package on any host, for whoever has but one.
#pragma once

#include "silicon/silicon.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {

/// Package::cpuid() on a host with these features.
CpuidRegs cpuid_on(const HostFeatures& host, const Package::Config& config, u32 leaf, u32 subleaf);

}  // namespace cloister::silicon
