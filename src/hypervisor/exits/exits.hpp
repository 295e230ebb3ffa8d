// The exit handlers: one a reason, one file a reason. A handler completes the instruction, raises a fault, or ends the
// domain.
#pragma once

#include <optional>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor::exits {

/// nullopt: the guest goes on.
using Result = std::optional<Stop>;
using Handler = Result (*)(Machine&, const silicon::Exit&);

/// The handler of a reason; null if the domain cannot go on after such an exit.
Handler handler_of(silicon::ExitReason reason);

Result cpuid(Machine& machine, const silicon::Exit& exit);
Result rdmsr(Machine& machine, const silicon::Exit& exit);
Result wrmsr(Machine& machine, const silicon::Exit& exit);
Result io(Machine& machine, const silicon::Exit& exit);
Result ept_violation(Machine& machine, const silicon::Exit& exit);
Result encls(Machine& machine, const silicon::Exit& exit);
Result hlt(Machine& machine, const silicon::Exit& exit);
Result vmcall(Machine& machine, const silicon::Exit& exit);
Result cr_access(Machine& machine, const silicon::Exit& exit);
Result xsetbv(Machine& machine, const silicon::Exit& exit);
Result cache_invalidation(Machine& machine, const silicon::Exit& exit);
Result exception(Machine& machine, const silicon::Exit& exit);
Result triple_fault(Machine& machine, const silicon::Exit& exit);
Result resume(Machine& machine, const silicon::Exit& exit);

}  // namespace cloister::hypervisor::exits
