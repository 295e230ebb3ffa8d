// Reason to handler (SDM vol. 3D, table C-1): vmx/exit.hpp has the table.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Handler handler_of(vmx::ExitReason reason) {
  switch (reason) {
#define CLOISTER_HANDLER(name, number, handler) \
  case vmx::ExitReason::name: return handler;
    CLOISTER_EXIT_REASONS(CLOISTER_HANDLER)
#undef CLOISTER_HANDLER
  }
  return unexpected;
}

/// The loop looks at time, devices and pending interrupts before each entry: that is all that these exits ask for.
Result resume(Processor&, const vmx::Exit&) { return std::nullopt; }

Result unexpected(Processor&, const vmx::Exit& exit) {
  return Stop{Ending::crashed, std::string("unhandled exit ") + vmx::name_of(exit.reason)};
}

}  // namespace cloister::hypervisor::exits
