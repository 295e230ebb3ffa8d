// INVD and WBINVD: memory is coherent, so there is nothing to write back. With EPC in the machine INVD raises #GP(0),
// for it would lose enclaves' data (SDM vol. 2A, INVD; vol. 3D, 40.5).
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result cache_invalidation(Processor& processor, const vmx::Exit& exit) {
  if (exit.reason == vmx::ExitReason::invd && !processor.machine.spec.map.epc.empty()) {
    processor.raise_gp();
  } else {
    processor.complete(exit);
  }
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
