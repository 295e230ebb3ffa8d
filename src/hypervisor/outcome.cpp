#include "hypervisor/outcome.hpp"

namespace cloister::hypervisor {

const char* name_of(Ending ending) {
  switch (ending) {
    case Ending::powered_off: return "powered-off";
    case Ending::reset: return "reset";
    case Ending::crashed: return "crashed";
    case Ending::timed_out: return "timed-out";
    case Ending::stopped: return "stopped";
    case Ending::halted: return "halted";
    case Ending::saved: return "saved";
  }
  return "unknown";
}

}  // namespace cloister::hypervisor
