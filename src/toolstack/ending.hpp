// What a run's end means for its exit status, whichever machine it was on.
#pragma once

#include "hypervisor/domain.hpp"
#include "toolstack/stop.hpp"

namespace cloister::toolstack {

/// Of toolstack.hpp's exit_status.
int status_of(hypervisor::Ending ending, const StopSource& stop);

}  // namespace cloister::toolstack
