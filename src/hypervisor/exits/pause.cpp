// A processor spins in the guest's kernel: for a lock, or for an answer to an interrupt that it sent. The one it waits
// for may have no host processor at the moment, so the loop (vcpu.cpp, schedule.cpp) lets others go first.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result pause(Processor& processor, const vmx::Exit& exit) {
  processor.complete(exit);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
