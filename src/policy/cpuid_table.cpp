// A CPUID policy as a table: which leaves have sub-leaves, and what a guest reads where the table has no entry (SDM
// vol. 2A, CPUID, table 3-8).
#include "policy/leaves.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

using namespace arch;

void CpuidTable::set(u32 leaf, u32 subleaf, const CpuidRegs& regs) { leaves_[{leaf, subleaf}] = regs; }

CpuidRegs CpuidTable::get(u32 leaf, u32 subleaf) const {
  // Each range of leaves (basic, hypervisor, extended) says in EAX of its first leaf which is its last.
  const u32 range = leaf & 0xc000'0000;
  const auto first = leaves_.find({range, 0});
  if (first == leaves_.end() || leaf > first->second.eax) return {};

  const auto entry = leaves_.find({leaf, has_subleaves(leaf) ? subleaf : 0});
  if (entry != leaves_.end()) return entry->second;
  // Topology: a level that does not exist has type 0, but still gives the level's number and the x2APIC ID.
  if (leaf == leaf::topology || leaf == topology_v2) {
    const auto level0 = leaves_.find({leaf, 0});
    if (level0 != leaves_.end()) return {.ecx = subleaf & 0xff, .edx = level0->second.edx};
  }
  return {};
}

}  // namespace cloister::policy
