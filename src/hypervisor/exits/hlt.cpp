// HLT: the instruction is complete, and the processor waits for an event (the loop does).
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result hlt(Machine& machine, const silicon::Exit& exit) {
  machine.complete(exit);
  machine.halted = true;
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
