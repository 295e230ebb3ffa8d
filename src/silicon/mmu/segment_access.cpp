// Type and limit checks of a segment in 16- and 32-bit code (SDM vol. 3A, 5.3 and 5.5; expand-down: 3.4.5.1).
#include "silicon/mmu/segment_access.hpp"

#include "silicon/state/dispatch.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {
namespace {

constexpr u32 unusable = 1u << 16, code = 8, expand_down = 4, writable = 2, readable = 2;

bool type_allows(const Cpu& cpu, const Segment& s, Access access) {
  if ((s.attributes & unusable) != 0) return false;
  if (!cpu.protected_mode()) return true;
  const bool is_code = (s.attributes & code) != 0;
  if (access == Access::write) return !is_code && (s.attributes & writable) != 0;
  return !is_code || (s.attributes & readable) != 0;
}

bool limit_allows(const Segment& s, u32 offset, unsigned bytes) {
  const u64 last = u64{offset} + bytes - 1;
  if ((s.attributes & (code | expand_down)) == expand_down) {
    return offset > s.limit && last <= (is_big(s) ? 0xffff'ffff : 0xffff);
  }
  return last <= s.limit;
}

}  // namespace

Maybe linear_in_segment(Cpu& cpu, const Op* op, u8 segment, u32 offset, unsigned bytes, Access access) {
  const Segment& s = cpu.seg[segment];
  if (!type_allows(cpu, s, access) || !limit_allows(s, offset, bytes)) [[unlikely]] {
    if (segment == arch::seg_ss) {
      raise_ss(cpu, op);
    } else {
      raise_gp(cpu, op);
    }
    return {0, false};
  }
  return {static_cast<u32>(s.base + offset), true};
}

}  // namespace cloister::silicon
