// On which of the host's processors each processor of a domain runs: as its configuration says (`cpus`), else, if its
// EPC is of several packages, on its own one's node.
#pragma once

#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "host/processors.hpp"
#include "machine/machine.hpp"
#include "plan/package_values.hpp"

namespace cloister::toolstack {

/// One for each processor of the domain; an empty one: anywhere. The error stands at `cpus`.
tl::expected<std::vector<CpuSet>, Diagnostic> place_vcpus(const DomainConfig& config, const MachineDescription& machine,
                                                          const Grants& grants, const HostProcessors& host);
/// All that any of them may run on; empty: anywhere.
CpuSet all_places(const std::vector<CpuSet>& places);

}  // namespace cloister::toolstack
