// Hypercalls, as docs/hypercalls.md defines them: RAX is the number, RAX the result.
#include "hypervisor/exits/exits.hpp"
#include "hypervisor/hypercalls.hpp"

namespace cloister::hypervisor::exits {

Result vmcall(Processor& processor, const vmx::Exit& exit) {
  if (processor.vcpu.system().cpl != 0) {
    processor.raise_ud();
    return std::nullopt;
  }
  vmx::GeneralRegs general = processor.vcpu.general();
  general.gpr[arch::rax] = hypercall(general.gpr[arch::rax]);
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
