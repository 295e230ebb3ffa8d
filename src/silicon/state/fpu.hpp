// The gates of floating-point instructions, and the guest's MXCSR on the host (SDM vol. 3A, 13.1; vol. 1, 10.2.3).
//
// Between enter_guest_fpu() and leave_guest_fpu() the host's MXCSR has the guest's rounding control, DAZ and FTZ, with
// every exception masked, and collects the guest's sticky flags. C++ floating-point arithmetic must not run meanwhile.
// If the guest has unmasked an exception, the host's flags are clear before every operation and are looked at after it.
#pragma once

#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

namespace mxcsr {
inline constexpr u32 ie = 1u << 0, de = 1u << 1, ze = 1u << 2, oe = 1u << 3, ue = 1u << 4, pe = 1u << 5;
inline constexpr u32 flags = 0x3f, daz = 1u << 6, masks = 0x3f << 7, um = 1u << 11, rounding = 3u << 13, ftz = 1u << 15;
inline constexpr u32 initial = 0x1f80, defined = 0xffff;  ///< defined: also FXSAVE's MXCSR_MASK
}  // namespace mxcsr

/// After every change of CR0, CR4 or XCR0.
void update_fpu_blocks(Cpu& cpu);

void enter_guest_fpu(Cpu& cpu);
void leave_guest_fpu(Cpu& cpu);

/// MXCSR as the guest sees it.
u32 guest_mxcsr(const Cpu& cpu);
/// `value` has no reserved bit set.
void set_guest_mxcsr(Cpu& cpu, u32 value);

/// Raises what blocks an SSE instruction: #UD or #NM.
void sse_unavailable(Cpu& cpu, const Op* op);
/// CR4.OSXSAVE and XCR0 allow VEX-encoded vector instructions (SDM vol. 1, 14.3; CR0.EM does not count).
bool avx_enabled(const Cpu& cpu);
/// The same for a VEX-encoded vector instruction.
void avx_unavailable(Cpu& cpu, const Op* op);

/// The host's flags of the operation that just ran while sse_unmasked; they become clear.
u32 take_sse_flags(Cpu& cpu);
/// Adds the flags of one operation to MXCSR. True if one is unmasked: #XM is raised (#UD without CR4.OSXMMEXCPT) and
/// the result must not be stored.
bool sse_report(Cpu& cpu, const Op* op, u32 flags);
/// Both, after an operation without overflow and underflow (see sse_exception.hpp for the others).
bool sse_exception(Cpu& cpu, const Op* op);

}  // namespace cloister::silicon
