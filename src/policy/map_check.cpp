// Names first, then bits: a feature of another name at our bits is not one that a domain may name as we do.
#include "policy/map_check.hpp"

#include <algorithm>

#include "policy/feature_rows.hpp"
#include "policy/flags.hpp"
#include "policy/hexadecimal.hpp"
#include "policy/leaves.hpp"

namespace cloister::policy {

namespace {

bool is(const MapFeature& feature, const MapBits& bits) { return feature.cpuid == bits && feature.also.empty(); }

}  // namespace

MapCheck check_map(const CpuMap& map) {
  MapCheck check;
  for (const FeatureRow& row : feature_rows()) {
    if (row.libvirt.empty()) continue;
    const Feature& feature = *find_feature(row.name);
    const MapBits expected = bits_of(feature);
    const auto named = std::ranges::find(map.features, row.libvirt, &MapFeature::name);
    if (named != map.features.end() && is(*named, expected)) {
      ++check.good;
      continue;
    }
    const auto found = named != map.features.end()
                           ? named
                           : std::ranges::find_if(map.features, [&](const MapFeature& f) { return is(f, expected); });
    auto& findings = find_sgx_flag(row.name) != nullptr ? check.sgx : check.other;
    findings.push_back({feature, libvirt_element(feature), found == map.features.end() ? nullptr : &*found});
  }
  return check;
}

std::string text_of(const MapBits& bits) {
  std::string text = "leaf " + hexadecimal(bits.leaf);
  if (bits.subleaf != 0 || has_subleaves(bits.leaf)) text += ", sub-leaf " + std::to_string(bits.subleaf);
  const std::pair<const char*, u32> registers[] = {
      {"EAX", bits.mask.eax}, {"EBX", bits.mask.ebx}, {"ECX", bits.mask.ecx}, {"EDX", bits.mask.edx}};
  for (const auto& [name, mask] : registers) {
    if (mask != 0) text += std::string(", ") + name + " " + hexadecimal(mask, 8);
  }
  return text;
}

}  // namespace cloister::policy
