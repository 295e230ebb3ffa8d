// Intercepted exceptions: only a debugger asks for them. What was not its breakpoint goes back to the guest as it was.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result exception(Processor& processor, const vmx::Exit& exit) {
  processor.event = exit.interruption;
  // Software exceptions are injected with the length of their instruction (SDM vol. 3C, 25.8.3).
  if (exit.instruction_length != 0) processor.event->instruction_length = exit.instruction_length;
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
