// The program cloister-vmm: one domain in a process of its own, from the launch to its end, through its restarts.
#pragma once

#include "plan/processors.hpp"

namespace cloister::toolstack {

/// The process's exit status: 0 once the guest has run and ended, whatever its ending (the domain's page says); 1 if it
/// never ran. Must be called first thing, with the descriptors of a launch (launch.hpp).
int run_vmm(const Processors& processors);

}  // namespace cloister::toolstack
