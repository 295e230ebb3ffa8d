// What a run's end means for its exit status, whichever machine it was on.
#pragma once

#include "host/stop.hpp"
#include "hypervisor/outcome.hpp"

namespace cloister::toolstack {

/// Of exit_status.hpp.
int status_of(hypervisor::Ending ending, const StopSource& stop);

}  // namespace cloister::toolstack
