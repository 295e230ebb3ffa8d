// The exit handlers: one a reason, one file a reason. A handler completes the instruction, raises a fault, or ends the
// domain.
#pragma once

#include <optional>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor::exits {

/// nullopt: the guest goes on.
using Result = std::optional<Stop>;
using Handler = Result (*)(Processor&, const silicon::Exit&);

/// The handler of a reason; null if the domain cannot go on after such an exit.
Handler handler_of(silicon::ExitReason reason);

Result cpuid(Processor& processor, const silicon::Exit& exit);
Result rdmsr(Processor& processor, const silicon::Exit& exit);
Result wrmsr(Processor& processor, const silicon::Exit& exit);
Result io(Processor& processor, const silicon::Exit& exit);
Result ept_violation(Processor& processor, const silicon::Exit& exit);
Result encls(Processor& processor, const silicon::Exit& exit);
Result hlt(Processor& processor, const silicon::Exit& exit);
Result vmcall(Processor& processor, const silicon::Exit& exit);
Result cr_access(Processor& processor, const silicon::Exit& exit);
Result xsetbv(Processor& processor, const silicon::Exit& exit);
Result pause(Processor& processor, const silicon::Exit& exit);
Result cache_invalidation(Processor& processor, const silicon::Exit& exit);
Result exception(Processor& processor, const silicon::Exit& exit);
Result triple_fault(Processor& processor, const silicon::Exit& exit);
Result resume(Processor& processor, const silicon::Exit& exit);

}  // namespace cloister::hypervisor::exits
