// A run that a signal ended has the status that a shell gives a command that died of it.
#include "run/ending.hpp"

#include "host/exit_status.hpp"

namespace cloister::toolstack {

using hypervisor::Ending;

int status_of(Ending ending, const StopSource& stop) {
  switch (ending) {
    case Ending::powered_off:
    case Ending::halted:
    case Ending::saved:
    case Ending::reset: return exit_status::powered_off;
    case Ending::crashed: return exit_status::crashed;
    case Ending::timed_out: return exit_status::timed_out;
    case Ending::stopped: return exit_status::signalled + (stop.signal() != 0 ? stop.signal() : SIGINT);
  }
  return exit_status::failed;
}

}  // namespace cloister::toolstack
