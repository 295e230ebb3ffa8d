// The processors of a run without a daemon: what they offer, and their package.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/config.hpp"
#include "machine/machine.hpp"
#include "plan/chosen_silicon.hpp"
#include "plan/package_values.hpp"

namespace cloister::toolstack {

/// As a daemon chooses it. A domain that goes on from the file `saved` has the features of its host that it had, and
/// one with the deterministic clock those that its configuration demands.
tl::expected<ChosenSilicon, Diagnostic> silicon_of_run(const vmx::Backend& silicon, const DomainConfig& config,
                                                       const MachineDescription& machine, const std::string& saved,
                                                       bool deterministic);

/// The domain's package, with the keys of its machine or with fixed ones.
tl::expected<vmx::Package::Config, std::string> package_of(const PackageValues& values, const Grants& grants,
                                                           bool fixed_keys);

}  // namespace cloister::toolstack
