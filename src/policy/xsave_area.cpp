#include "policy/xsave_area.hpp"

#include <algorithm>

namespace cloister::policy {

namespace {

constexpr u32 legacy_area = 512 + 64;  // the FXSAVE image and the XSAVE header
constexpr u32 components = 63, aligned_bit = 2, alignment = 64;

}  // namespace

u32 standard_xsave_size(const CpuidTable& table, u64 enabled) {
  u32 size = legacy_area;
  for (u32 i = 2; i < components; ++i) {
    if ((enabled >> i & 1) == 0) continue;
    const CpuidRegs area = table.get(arch::leaf::xsave, i);
    size = std::max(size, area.ebx + area.eax);
  }
  return size;
}

u32 compacted_xsave_size(const CpuidTable& table, u64 enabled) {
  u32 size = legacy_area;
  for (u32 i = 2; i < components; ++i) {
    if ((enabled >> i & 1) == 0) continue;
    const CpuidRegs area = table.get(arch::leaf::xsave, i);
    if ((area.ecx & aligned_bit) != 0) size = (size + alignment - 1) & ~(alignment - 1);
    size += area.eax;
  }
  return size;
}

}  // namespace cloister::policy
