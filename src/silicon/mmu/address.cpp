// Effective and linear addresses of the operands that the inline paths do not serve (SDM vol. 1, 3.7.5).
#include "silicon/mmu/access.hpp"
#include "silicon/mmu/segment_access.hpp"

namespace cloister::silicon {

u64 effective_address(const Cpu& cpu, const Op* op, Mem kind) {
  const u64 sum =
      cpu.gpr[op->base] + (cpu.gpr[op->index] << (op->scale & 15)) + static_cast<u64>(static_cast<i64>(op->disp));
  if (kind != Mem::any) return sum;
  switch (op->scale >> 4) {
    case 2: return static_cast<u16>(sum);
    case 4: return static_cast<u32>(sum);
    default: return sum;
  }
}

bool linear_any(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  const u64 offset = effective_address(cpu, op, Mem::any);
  if (cpu.code64) {
    linear = offset + cpu.seg_base[op->seg];
    return true;
  }
  const Maybe m = linear_in_segment(cpu, op, op->seg, static_cast<u32>(offset), bytes, access);
  linear = m.value;
  return m.ok;
}

}  // namespace cloister::silicon
