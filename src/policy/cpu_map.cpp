// Looking things up in a map.
#include "policy/cpu_map.hpp"

#include <algorithm>

namespace cloister::policy {

namespace {

bool has(const CpuidTable& table, const MapBits& bits) {
  const CpuidRegs regs = table.get(bits.leaf, bits.subleaf);
  const auto all = [](u32 value, u32 mask) { return (value & mask) == mask; };
  return all(regs.eax, bits.mask.eax) && all(regs.ebx, bits.mask.ebx) && all(regs.ecx, bits.mask.ecx) &&
         all(regs.edx, bits.mask.edx);
}

}  // namespace

const MapFeature* CpuMap::find_feature(std::string_view name) const {
  const auto named = std::ranges::find(features, name, &MapFeature::name);
  if (named != features.end()) return &*named;
  const auto aliased = std::ranges::find_if(features, [&](const MapFeature& feature) {
    return std::ranges::find(feature.aliases, name) != feature.aliases.end();
  });
  return aliased == features.end() ? nullptr : &*aliased;
}

const MapModel* CpuMap::find_model(std::string_view name) const {
  const auto found = std::ranges::find(models, name, &MapModel::name);
  return found == models.end() ? nullptr : &*found;
}

MapBits bits_of(const CpuidBit& bit) {
  MapBits bits{bit.leaf, bit.subleaf, {}};
  arch::value_of(bits.mask, bit.reg) = u32{1} << bit.bit;
  return bits;
}

Known says(const CpuidTable& table, const MapBits& bits) {
  const auto [regs, known] = table.look(bits.leaf, bits.subleaf);
  Known all = Known::yes;
  for (const CpuidReg reg : {CpuidReg::eax, CpuidReg::ebx, CpuidReg::ecx, CpuidReg::edx}) {
    const u32 missing = value_of(bits.mask, reg) & ~value_of(regs, reg);
    if ((missing & value_of(known, reg)) != 0) return Known::no;
    if (missing != 0) all = Known::unknown;
  }
  return all;
}

bool has(const CpuidTable& table, const MapFeature& feature) {
  return feature.cpuid && has(table, *feature.cpuid) &&
         std::ranges::all_of(feature.also, [&](const MapBits& bits) { return has(table, bits); });
}

}  // namespace cloister::policy
