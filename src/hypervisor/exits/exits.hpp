// The exit handlers: one a reason, one file a reason. A handler completes the instruction, raises a fault, or ends the
// domain.
#pragma once

#include <optional>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor::exits {

/// nullopt: the guest goes on.
using Result = std::optional<Stop>;
using Handler = Result (*)(Processor&, const vmx::Exit&);

// The handlers that the table of reasons names (vmx/exit.hpp), each in a file of its name; some serve several reasons.
#define CLOISTER_DECLARE(name, number, handler) Result handler(Processor& processor, const vmx::Exit& exit);
CLOISTER_EXIT_REASONS(CLOISTER_DECLARE)
#undef CLOISTER_DECLARE

/// The end of a domain for whose page of EPC there is no frame, nor one to be made free.
Stop no_frame_for(arch::Gpa page);

/// The handler of a reason. `unexpected` ends the domain: it cannot go on after such an exit.
Handler handler_of(vmx::ExitReason reason);

}  // namespace cloister::hypervisor::exits
