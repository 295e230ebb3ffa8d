// Debug registers: breakpoints on data and code (SDM vol. 3B, 18.2).
#pragma once

#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

/// Type of breakpoint n (DR7.R/Wn): 0 execute, 1 write, 2 I/O, 3 read or write.
constexpr unsigned breakpoint_type(u64 dr7, unsigned n) { return (dr7 >> (16 + 4 * n)) & 3; }
constexpr unsigned breakpoint_bytes(u64 dr7, unsigned n) {
  constexpr unsigned bytes[4] = {1, 2, 8, 4};
  return bytes[(dr7 >> (18 + 4 * n)) & 3];
}
constexpr bool breakpoint_enabled(u64 dr7, unsigned n) { return ((dr7 >> (2 * n)) & 3) != 0; }

inline bool data_breakpoints_on(const Cpu& cpu) {
  if ((cpu.dr7 & arch::dr7::enable_mask) == 0) return false;
  for (unsigned n = 0; n < 4; ++n) {
    if (breakpoint_enabled(cpu.dr7, n) && (breakpoint_type(cpu.dr7, n) & 1) != 0) return true;
  }
  return false;
}

/// Notes which data breakpoints an access hits, for the #DB after the instruction.
void note_data_access(Cpu& cpu, u64 linear, unsigned bytes, Access access);
/// DR6 bits of the instruction breakpoints at `linear`; 0: none.
u64 code_breakpoints(const Cpu& cpu, u64 linear);
/// As note_data_access, for I/O ports (CR4.DE).
void note_io_access(Cpu& cpu, u16 port, unsigned bytes);

}  // namespace cloister::silicon
