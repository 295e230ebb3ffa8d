// A triple fault is shutdown (SDM vol. 3A, 6.15, interrupt 8): nobody is there to reset the machine, so it is a crash.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result triple_fault(Processor&, const vmx::Exit&) { return Stop{Ending::crashed, "triple fault"}; }

}  // namespace cloister::hypervisor::exits
