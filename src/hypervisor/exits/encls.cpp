// ENCLS exits. Without EPC every leaf exits (all bits of the ENCLS-exiting bitmap) and raises #UD, as on a processor
// without SGX. A domain with EPC has a static partition and no leaf exits.
#include <fmt/format.h>

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result encls(Processor& processor, const silicon::Exit&) {
  const u32 leaf = static_cast<u32>(processor.vcpu.general().gpr[arch::rax]);
  if (!processor.controls.encls_exiting)
    return Stop{Ending::crashed, fmt::format("ENCLS leaf {:#x} exited though no leaf was asked for", leaf)};
  if (processor.machine.trace.wants().encls)
    processor.machine.trace.line(processor.now(), "encls", "leaf={:#x} fault=0x6", leaf);
  processor.raise_ud();
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
