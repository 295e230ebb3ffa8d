// The EPC of a run without a daemon: accounts of its own, of a machine that hosts this one domain.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "toolstack/config.hpp"
#include "toolstack/machine.hpp"

namespace cloister::toolstack {

struct RunEpc {
  std::vector<u32> packages;  ///< of each section of the configuration
  std::string reason;         ///< why these; empty without EPC
};

/// Without a machine: one package, with as much EPC as the domain wants. The error stands at `epc`.
tl::expected<RunEpc, Diagnostic> place_epc(const DomainConfig& config,
                                           const std::optional<MachineDescription>& machine);

}  // namespace cloister::toolstack
