// Hypercalls, as docs/hypercalls.md defines them: RAX is the number, RAX the result.
#include "hypervisor/exits/exits.hpp"
#include "hypervisor/hypercalls.hpp"

namespace cloister::hypervisor::exits {

Result vmcall(Machine& machine, const silicon::Exit& exit) {
  if (machine.vcpu.system().cpl != 0) {
    machine.raise_ud();
    return std::nullopt;
  }
  silicon::GeneralRegs general = machine.vcpu.general();
  general.gpr[arch::rax] = hypercall(general.gpr[arch::rax]);
  machine.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
