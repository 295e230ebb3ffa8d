// What follows from a change of the processor's mode or flags (SDM vol. 3A, 2.2 and 2.3).
#pragma once

#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

/// Recomputes everything that is derived from the mode: code64, the effective segment bases, the translation context
/// and the FPU's gates. After any change of CR0, CR4, EFER, CS, SS or CPL.
void update_mode(Cpu& cpu);

/// Loads every defined bit of RFLAGS; the caller has applied the rules of CPL and IOPL. Recomputes what depends on AC.
void set_rflags(Cpu& cpu, u64 value);

}  // namespace cloister::silicon
