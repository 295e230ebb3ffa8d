// Intercepted exceptions: only a debugger asks for them. What was not its breakpoint goes back to the guest as it was.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result exception(Machine& machine, const silicon::Exit& exit) {
  machine.event = exit.interruption;
  if (exit.interruption.type == silicon::EventType::software_exception)
    machine.event->instruction_length = exit.instruction_length;
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
