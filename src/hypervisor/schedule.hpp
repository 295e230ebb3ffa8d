// Who runs when. Host clock: each processor has a thread. Deterministic clock: all take turns on one thread, in the
// order of their numbers, so that a run is a function of the domain alone.
//
// A turn is a fixed number of instructions; it ends early when the processor halts, or sends a message to another one,
// for whose answer it would only wait. The one virtual time is the number of instructions that all processors have
// retired, plus what was skipped while all were halted: no two processors' time stamp counters ever disagree.
#pragma once

#include "hypervisor/gdb/debugger.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

/// Runs the domain to its end. With a debugger (null for none), a crash or halt is first shown to it.
Stop run_processors(Machine& machine, const RunOptions& options, gdb::Debugger* debugger);

}  // namespace cloister::hypervisor
