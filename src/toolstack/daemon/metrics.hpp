// The machine in numbers, for Prometheus.
#pragma once

#include <string>

#include "toolstack/daemon/domains.hpp"

namespace cloister::toolstack {

/// Prometheus' text format, version 0.0.4.
std::string metrics(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains);

}  // namespace cloister::toolstack
