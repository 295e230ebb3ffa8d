// Where a domain's threads run (`cpus`): what the host had as the domain was planned may have gone since.
#pragma once

#include <string>

#include "host/processors.hpp"

namespace cloister::toolstack {

/// The calling thread runs on these of the host's processors from now on; if none of them is there it stays where it
/// is, and the log says so.
void run_on(const CpuSet& cpus, const std::string& domain);

}  // namespace cloister::toolstack
