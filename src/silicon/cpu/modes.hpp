// What the processor's mode means for code and addresses (SDM vol. 3A, 2.2 and 5.2.1; vol. 1, 3.3.7.1).
#pragma once

#include "silicon/cpu/cpu.hpp"
#include "silicon/cpu/insn.hpp"
#include "silicon/processor.hpp"

namespace cloister::silicon {

/// Segment attributes, as in silicon::Segment::attributes.
namespace attr {
inline constexpr u32 type = 0xf, accessed = 1, writable = 2, readable = 2, expand_down = 4, conforming = 4, code = 8,
                     s = 1u << 4, dpl = 3u << 5, present = 1u << 7, avl = 1u << 12, l = 1u << 13, db = 1u << 14,
                     g = 1u << 15, unusable = 1u << 16;
constexpr unsigned dpl_of(u32 a) { return (a >> 5) & 3; }
}  // namespace attr

inline CodeMode code_mode(const Cpu& cpu) {
  const bool big = (cpu.seg[arch::seg_cs].attributes & attr::db) != 0;
  if (cpu.code64) return CodeMode::bits64;
  if (cpu.long_mode()) return big ? CodeMode::compat32 : CodeMode::compat16;
  if (!cpu.protected_mode()) return CodeMode::real16;
  return big ? CodeMode::protected32 : CodeMode::protected16;
}

inline bool virtual_8086(const Cpu& cpu) { return (cpu.system_flags & arch::rflags::vm) != 0; }

/// Recomputes everything that is derived from the mode: code64, the effective segment bases, the translation context
/// and the FPU's gates. After any change of CR0, CR4, EFER, CS, SS or CPL.
void update_mode(Cpu& cpu);

}  // namespace cloister::silicon
