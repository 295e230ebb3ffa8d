// The processors of a run without a daemon: what they offer, and their package.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/config.hpp"
#include "machine/machine.hpp"
#include "plan/chosen_silicon.hpp"
#include "plan/package_values.hpp"
#include "run/run.hpp"

namespace cloister::toolstack {

/// As a daemon chooses it. A domain that was saved has the features of its host that it had, and one with the
/// deterministic clock those that its configuration demands.
tl::expected<ChosenSilicon, Diagnostic> silicon_of_run(const vmx::Backend& silicon, const DomainConfig& config,
                                                       const MachineDescription& machine,
                                                       const RunArguments& arguments);

/// The domain's package with the keys of its machine.
tl::expected<vmx::Package::Config, std::string> package_of(const PackageValues& values, const Grants& grants,
                                                           const RunArguments& arguments);

}  // namespace cloister::toolstack
