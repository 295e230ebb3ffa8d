// Why a host's guests cannot have more of SGX, and what to do about it: the rules behind SgxReport::findings.
#pragma once

#include <vector>

#include "policy/host_view.hpp"

namespace cloister::policy {

/// Of a report whose other members are there; what blocks comes first. Only what applies: without SGX in the processor
/// nobody misses a device.
std::vector<Finding> find_obstacles(const HostView& host, const SgxReport& report);

}  // namespace cloister::policy
