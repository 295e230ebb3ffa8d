// Walks a processor's CPUID: each leaf up to its range's maximum, and each sub-leaf up to what ends its list.
#include "policy/leaves.hpp"

#include <algorithm>

namespace cloister::policy {

using namespace arch;

namespace {

/// How the list of a leaf's sub-leaves ends.
enum class End {
  count,       ///< EAX of sub-leaf 0 is the last one
  cache_type,  ///< type in EAX[4:0] is 0
  level_type,  ///< type in ECX[15:8] is 0
  xcr0,        ///< sub-leaf n exists for each bit n of XCR0 and IA32_XSS
  epc,         ///< type in EAX[3:0] is 0, from sub-leaf 2 on
  bitmap,      ///< sub-leaf n exists for each bit n of EBX or EDX of sub-leaf 0
};

struct Listed {
  u32 leaf;
  End end;
};

constexpr Listed listed[] = {
    {leaf::cache, End::cache_type},
    {leaf::features, End::count},
    {leaf::topology, End::level_type},
    {leaf::xsave, End::xcr0},
    {0xf, End::bitmap},
    {0x10, End::bitmap},
    {leaf::sgx, End::epc},
    {0x14, End::count},
    {0x17, End::count},
    {0x18, End::count},
    {0x1d, End::count},
    {topology_v2, End::level_type},
    // AMD's (AMD64 Architecture Programmer's Manual vol. 3, E.4)
    {0x8000'001d, End::cache_type},
    {0x8000'0020, End::bitmap},
    {0x8000'0026, End::level_type},
};

/// No list is longer than XCR0's; a processor that reports more is not followed.
constexpr u32 max_subleaves = 64;
/// No processor reports more leaves than this in a range.
constexpr u32 max_leaves = 0x100;

const Listed* find_listed(u32 leaf) {
  const auto* found = std::ranges::find(listed, leaf, &Listed::leaf);
  return found == std::end(listed) ? nullptr : found;
}

using Raw = std::function<CpuidRegs(u32, u32)>;

u64 xsave_components(const Raw& raw) {
  const CpuidRegs user = raw(leaf::xsave, 0), supervisor = raw(leaf::xsave, 1);
  return (u64{user.edx} << 32 | user.eax) | (u64{supervisor.edx} << 32 | supervisor.ecx);
}

bool exists(const Raw& raw, const Listed& list, u32 subleaf) {
  if (subleaf == 0) return true;
  const CpuidRegs zero = raw(list.leaf, 0), regs = raw(list.leaf, subleaf);
  switch (list.end) {
    case End::count: return subleaf <= zero.eax;
    case End::cache_type: return (regs.eax & 0x1f) != 0;
    case End::level_type: return (regs.ecx & 0xff00) != 0;
    case End::xcr0: return subleaf == 1 || ((xsave_components(raw) >> subleaf) & 1) != 0;
    case End::epc: return subleaf == 1 || (regs.eax & 0xf) != 0;
    case End::bitmap: return subleaf < 32 && (((zero.ebx | zero.edx) >> subleaf) & 1) != 0;
  }
  return false;
}

void read_range(CpuidTable& table, const Raw& raw, u32 first) {
  const u32 last = raw(first, 0).eax;
  if (last < first) return;
  for (u32 leaf = first; leaf <= last && leaf - first < max_leaves; ++leaf) {
    const Listed* list = find_listed(leaf);
    if (list == nullptr) {
      table.set(leaf, 0, raw(leaf, 0));
      continue;
    }
    for (u32 subleaf = 0; subleaf < max_subleaves; ++subleaf) {
      if (exists(raw, *list, subleaf)) {
        table.set(leaf, subleaf, raw(leaf, subleaf));
      } else if (list->end != End::xcr0 && list->end != End::bitmap) {
        break;
      }
    }
  }
}

}  // namespace

bool has_subleaves(u32 leaf) { return find_listed(leaf) != nullptr; }

CpuidTable read_processor(const Raw& raw) {
  CpuidTable table;
  read_range(table, raw, leaf::basic_max);
  read_range(table, raw, leaf::extended_max);
  return table;
}

}  // namespace cloister::policy
