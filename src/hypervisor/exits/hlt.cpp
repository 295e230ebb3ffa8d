// HLT: the instruction is complete, and the processor waits for an event (the loop does).
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result hlt(Processor& processor, const vmx::Exit& exit) {
  processor.complete(exit);
  processor.halted = true;
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
