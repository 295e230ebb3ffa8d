// What a guest reads where the table has no entry, and what is known where it has none (SDM vol. 2A, CPUID, table 3-8).
#include "policy/leaves.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

constexpr CpuidRegs whole{~u32{0}, ~u32{0}, ~u32{0}, ~u32{0}};

/// The first leaf of a range says in EAX which is its last. These two belong to every processor.
constexpr u32 range_of(u32 leaf) { return leaf & 0xffff'0000; }
constexpr bool is_everyones(u32 range) { return range == leaf::basic_max || range == leaf::extended_max; }

}  // namespace

void CpuidTable::set(u32 leaf, u32 subleaf, const CpuidRegs& regs) {
  leaves_[{leaf, subleaf}] = regs;
  masks_.erase({leaf, subleaf});
}

void CpuidTable::learn(u32 leaf, u32 subleaf, const CpuidRegs& regs, const CpuidRegs& known) {
  const auto [entry, fresh] = leaves_.try_emplace({leaf, subleaf});
  if (fresh) masks_[entry->first] = {};
  const auto mask = masks_.find(entry->first);
  for (const CpuidReg reg : {CpuidReg::eax, CpuidReg::ebx, CpuidReg::ecx, CpuidReg::edx}) {
    const u32 bits = value_of(known, reg);
    u32& value = value_of(entry->second, reg);
    value = (value & ~bits) | (value_of(regs, reg) & bits);
    if (mask != masks_.end()) value_of(mask->second, reg) |= bits;
  }
  if (mask != masks_.end() && mask->second == whole) masks_.erase(mask);
}

void CpuidTable::learn(const CpuidBit& bit, bool on) {
  CpuidRegs mask;
  value_of(mask, bit.reg) = u32{1} << bit.bit;
  learn(bit.leaf, bit.subleaf, on ? mask : CpuidRegs{}, mask);
}

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

CpuidTable::Leaf CpuidTable::look(u32 leaf, u32 subleaf) const {
  constexpr Leaf none{{}, whole}, unknown{};
  const auto found = [&](u32 l, u32 s) -> std::optional<Leaf> {
    const auto entry = leaves_.find({l, s});
    if (entry == leaves_.end()) return std::nullopt;
    const auto mask = masks_.find({l, s});
    return Leaf{entry->second, mask == masks_.end() ? whole : mask->second};
  };
  if (const auto entry = found(leaf, has_subleaves(leaf) ? subleaf : 0)) return *entry;
  const auto ends_before = [&](u32 counting, u32 number) {
    const auto entry = found(counting, 0);
    return entry && entry->known.eax == whole.eax && entry->regs.eax < number;
  };
  const u32 range = range_of(leaf);
  if (!is_everyones(range) && !found(range, 0)) return none;
  if (ends_before(range, leaf)) return none;
  if (leaf == leaf::features && ends_before(leaf, subleaf)) return none;
  return unknown;
}

Known CpuidTable::says(const CpuidBit& bit) const {
  const Leaf leaf = look(bit.leaf, bit.subleaf);
  const u32 mask = u32{1} << bit.bit;
  if ((value_of(leaf.known, bit.reg) & mask) == 0) return Known::unknown;
  return arch::has(leaf.regs, bit) ? Known::yes : Known::no;
}

bool has(const CpuidTable& table, const CpuidBit& bit) { return arch::has(table.get(bit.leaf, bit.subleaf), bit); }

}  // namespace cloister::policy
