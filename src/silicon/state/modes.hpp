// What the processor's mode means for code and addresses (SDM vol. 3A, 2.2 and 5.2.1; vol. 1, 3.3.7.1).
#pragma once

#include "silicon/state/cpu.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

/// Segment attributes, as in silicon::Segment::attributes.
namespace attr {
inline constexpr u32 type = 0xf, accessed = 1, writable = 2, readable = 2, expand_down = 4, conforming = 4, code = 8,
                     s = 1u << 4, dpl = 3u << 5, present = 1u << 7, avl = 1u << 12, l = 1u << 13, db = 1u << 14,
                     g = 1u << 15, unusable = 1u << 16;
constexpr unsigned dpl_of(u32 a) { return (a >> 5) & 3; }
}  // namespace attr

inline bool virtual_8086(const Cpu& cpu) { return (cpu.system_flags & arch::rflags::vm) != 0; }

/// What decoding depends on: code size, and which encodings and forms there are.
enum class CodeMode : u8 { bits64, compat32, compat16, protected32, protected16, virtual16, real16 };
/// As the 8086 was: without VEX, and with the x87's images of real mode (SDM vol. 2A, 2.3.5; vol. 1, 8.1.10).
constexpr bool as_8086(CodeMode mode) { return mode == CodeMode::real16 || mode == CodeMode::virtual16; }

inline CodeMode code_mode(const Cpu& cpu) {
  const bool big = (cpu.seg[arch::seg_cs].attributes & attr::db) != 0;
  if (cpu.code64) return CodeMode::bits64;
  if (cpu.long_mode()) return big ? CodeMode::compat32 : CodeMode::compat16;
  if (!cpu.protected_mode()) return CodeMode::real16;
  if (virtual_8086(cpu)) return CodeMode::virtual16;
  return big ? CodeMode::protected32 : CodeMode::protected16;
}

/// D/B of a code or stack segment.
constexpr bool is_big(const Segment& s) { return (s.attributes & attr::db) != 0; }

}  // namespace cloister::silicon
