// The x87 register stack, status and gate (SDM vol. 1, 8.1).
//
// FIP is written by every non-control instruction; FOP and FDP only when one raises an unmasked exception, as on
// processors that enumerate CPUID.(7,0):EBX[6] (FDP_EXCPTN_ONLY), and FCS and FDS are 0, as EBX[13] says.
#pragma once

#include "silicon/state/cpu.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

/// Raises what blocks an x87 instruction: #NM, or #MF for an exception that is pending. With CR0.NE = 0 a pending
/// exception raises #MF too: there is no external interrupt controller input for FERR#.
void x87_unavailable(Cpu& cpu, const Op* op);

/// The gate of a waiting x87 instruction.
[[gnu::always_inline]] inline bool x87_ready(Cpu& cpu, const Op* op) {
  if (cpu.fpu.x87_blocked || (cpu.fpu.status & x87::es) != 0) [[unlikely]] {
    x87_unavailable(cpu, op);
    return false;
  }
  return true;
}

/// The gate of a non-waiting one (FNSTSW, …).
[[gnu::always_inline]] inline bool x87_present(Cpu& cpu, const Op* op) {
  if (cpu.fpu.x87_blocked) [[unlikely]] {
    raise_nm(cpu, op);
    return false;
  }
  return true;
}

inline u8 x87_physical(const FpuState& fpu, unsigned i) { return static_cast<u8>((fpu.top + i) & 7); }
inline Float80& x87_st(FpuState& fpu, unsigned i) { return fpu.st[x87_physical(fpu, i)]; }
inline bool x87_empty(const FpuState& fpu, unsigned i) { return ((fpu.valid >> x87_physical(fpu, i)) & 1) == 0; }

inline void x87_set(FpuState& fpu, unsigned i, const Float80& value) {
  const u8 r = x87_physical(fpu, i);
  fpu.st[r] = value;
  fpu.valid |= static_cast<u8>(1u << r);
}
inline void x87_pop(FpuState& fpu) {
  fpu.valid &= static_cast<u8>(~(1u << fpu.top));
  fpu.top = (fpu.top + 1) & 7;
}
inline void x87_push(FpuState& fpu, const Float80& value) {
  fpu.top = (fpu.top - 1) & 7;
  x87_set(fpu, 0, value);
}

/// The status word with TOP; and the full form of the tag word (SDM vol. 1, 8.1.3 and 8.1.7).
inline u16 x87_status_word(const FpuState& fpu) { return static_cast<u16>(fpu.status | (fpu.top << 11)); }
u16 x87_full_tags(const FpuState& fpu);
void x87_set_full_tags(FpuState& fpu, u16 tags);

/// ES and B follow from the flags and the masks.
inline void x87_update_summary(FpuState& fpu) {
  const bool pending = (fpu.status & ~fpu.control & x87::flags) != 0;
  fpu.status = static_cast<u16>((fpu.status & ~(x87::es | x87::busy)) | (pending ? x87::es | x87::busy : 0));
}

void x87_set_status_word(FpuState& fpu, u16 value);
inline void x87_set_control(FpuState& fpu, u16 value) {
  fpu.control = (value & x87::control_defined) | x87::control_one;
}

/// FNINIT: the state of the registers (their contents stay).
void x87_init(FpuState& fpu);

// ---- what an instruction does with a result

struct X87Result;

/// Takes over the host's exception flags and C1, and records what an unmasked exception records. False: an unmasked
/// exception found before the result was computed forbids the result and the pop (SDM vol. 1, 8.5).
bool x87_report(Cpu& cpu, const Op* op, u16 host_status);

/// Stack underflow or overflow (SDM vol. 1, 8.5.1.1). True: masked, so the result is the indefinite.
bool x87_stack_fault(Cpu& cpu, const Op* op, bool overflow);

/// Replaces C0, C2 and C3.
inline void x87_set_conditions(FpuState& fpu, u16 host_status) {
  constexpr u16 which = x87::c0 | x87::c2 | x87::c3;
  fpu.status = static_cast<u16>((fpu.status & ~which) | (host_status & which));
}
inline void x87_clear_c1(FpuState& fpu) { fpu.status &= static_cast<u16>(~x87::c1); }

/// FIP; at the end of every non-control instruction.
inline void x87_note(Cpu& cpu, const Op* op) { cpu.fpu.instruction = cpu.rip_of(op); }

/// Pushes a result, or the indefinite if the stack is full.
void x87_push_checked(Cpu& cpu, const Op* op, const X87Result& r);

}  // namespace cloister::silicon
