// MOV to and from CR8: the local APIC's task priority (SDM vol. 3A, 11.8.6). Bits 63:4 must be zero.
#include <fmt/format.h>

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

Result cr_access(Processor& processor, const vmx::Exit& exit) {
  const auto access = vmx::CrQualification::decode(exit.qualification);
  if (access.cr != 8) return Stop{Ending::crashed, fmt::format("access to CR{} exited", access.cr)};
  vmx::GeneralRegs general = processor.vcpu.general();
  u64& reg = general.gpr[access.gpr];
  if (access.from_cr) {
    reg = processor.local_apic.cr8();
  } else if (reg > 15) {
    processor.raise_gp();
    return std::nullopt;
  } else {
    processor.local_apic.set_cr8(static_cast<u8>(reg));
  }
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
