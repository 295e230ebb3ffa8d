// MMX state: the registers are the significands of R0 to R7, and every MMX instruction makes the x87 stack full with
// TOP = 0 (SDM vol. 3A, 13.2; vol. 1, 9.2 and 9.5).
#pragma once

#include "silicon/isa/x87/x87.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

/// The gate of an MMX instruction. False: #UD, #NM or a pending #MF was raised.
[[gnu::always_inline]] inline bool mmx_ready(Cpu& cpu, const Op* op) {
  if (cpu.fpu.x87_blocked || (cpu.fpu.status & x87::es) != 0) [[unlikely]] {
    if ((cpu.cr0 & arch::cr0::em) != 0) {
      raise_ud(cpu, op);
    } else {
      x87_unavailable(cpu, op);
    }
    return false;
  }
  return true;
}

/// The tag and TOP of every MMX instruction but EMMS; call when nothing can fault any more.
inline void mmx_enter(Cpu& cpu) {
  cpu.fpu.top = 0;
  cpu.fpu.valid = 0xff;
}

inline u64 get_mm(const Cpu& cpu, u8 r) { return cpu.fpu.st[r].mantissa; }

/// Ends an instruction that writes an MMX register.
inline void set_mm(Cpu& cpu, u8 r, u64 value) {
  mmx_enter(cpu);
  cpu.fpu.st[r] = {value, 0xffff};
}

}  // namespace cloister::silicon
