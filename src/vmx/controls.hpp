// What exits, and what may be injected: the controls of non-root mode (SDM vol. 3C, 25.6).
#pragma once

#include <optional>
#include <vector>

#include "arch/types.hpp"

namespace cloister::vmx {

/// PAUSE-loop exiting (SDM vol. 3C, 26.1.3), in cycles of the TSC: PAUSEs at CPL 0 that follow one another within `gap`
/// are a loop, which exits when it has lasted longer than `window`.
struct PauseLoopExiting {
  u64 gap = 0, window = 0;
  bool operator==(const PauseLoopExiting&) const = default;
};

/// What the hypervisor asks of non-root mode (SDM vol. 3C, 25.6). CPUID, RDMSR and WRMSR outside `msr_passthrough`, IN,
/// OUT, HLT, VMCALL, INVD, WBINVD, XSETBV, MOV CR8 and triple faults always exit.
struct Controls {
  u32 exception_bitmap = 0;         ///< bit n: exception n exits
  bool interrupt_window = false;    ///< exit as soon as an external interrupt could be delivered
  bool nmi_window = false;          ///< exit as soon as an NMI could be delivered
  bool monitor_trap = false;        ///< exit after one instruction
  bool encls_exiting = false;       ///< consult encls_bitmap
  u64 encls_bitmap = 0;             ///< bit n: ENCLS leaf n exits; bit 63: leaves 63 and up
  bool enclv_exiting = false;       ///< enables ENCLV (else #UD), and consult enclv_bitmap
  u64 enclv_bitmap = 0;             ///< as encls_bitmap, for ENCLV
  bool epc_virtualization = false;  ///< EPC virtualization extensions: SGX_CONFLICT exits, virtual children
  std::optional<PauseLoopExiting> pause_loop_exiting;
  std::vector<u32> msr_passthrough;  ///< MSRs that the guest reads and writes in the silicon, without an exit
};

}  // namespace cloister::vmx
