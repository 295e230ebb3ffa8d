// The EPC of a run without a daemon: accounts of its own, of a machine that hosts this one domain.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/config.hpp"
#include "machine/machine.hpp"
#include "plan/package_values.hpp"

namespace cloister::toolstack {

struct RunEpc {
  Grants grants;
  std::string reason;  ///< why these; empty without EPC
};

/// The machine of a run that names none: one package, with as much EPC as the domain wants.
MachineDescription machine_for(const DomainConfig& config);

/// The error stands at `epc`.
tl::expected<RunEpc, Diagnostic> place_epc(const DomainConfig& config, const MachineDescription& machine);

}  // namespace cloister::toolstack
