// ENCLS exits. Without EPC every leaf exits (all bits of the ENCLS-exiting bitmap) and raises #UD, as on a processor
// without SGX. A domain with EPC has a static partition: only those leaves exit that its CPUID does not list, which
// raise #GP(0), as on a processor without the feature, and ECREATE in a domain that may not have the provisioning key.
#include <fmt/format.h>

#include "hypervisor/exits/ecreate.hpp"

namespace cloister::hypervisor::exits {

Result encls(Processor& processor, const vmx::Exit& exit) {
  const u32 leaf = static_cast<u32>(processor.vcpu.general().gpr[arch::rax]);
  const vmx::Controls& controls = processor.controls;
  if (!controls.encls_exiting || ((controls.encls_bitmap >> std::min(leaf, 63u)) & 1) == 0)
    return Stop{Ending::crashed, fmt::format("ENCLS leaf {:#x} exited though it was not asked for", leaf)};
  const bool sgx = !processor.machine.epc.empty();
  if (sgx && leaf == static_cast<u32>(arch::EnclsLeaf::ecreate)) return ecreate(processor, exit);
  if (processor.machine.trace.wants().encls)
    processor.machine.trace.line(processor.now(), "encls", "leaf={:#x} fault={:#x}", leaf,
                                 sgx ? arch::vector::gp : arch::vector::ud);
  if (sgx) {
    processor.raise_gp();
  } else {
    processor.raise_ud();
  }
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
