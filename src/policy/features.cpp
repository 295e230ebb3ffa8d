// Features by name: each spelling of a row is one, the row's own name first.
#include <algorithm>
#include <unordered_map>

#include "policy/feature_rows.hpp"
#include "policy/policy.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"

namespace cloister::policy {

namespace {

std::vector<Feature> all_spellings() {
  std::vector<Feature> features;
  for (const FeatureRow& row : feature_rows()) {
    const auto first = static_cast<std::ptrdiff_t>(features.size());
    for (const std::string_view name : {row.name, row.libvirt, row.qemu, row.xen, row.cpuinfo, row.also}) {
      const bool known = std::find_if(features.begin() + first, features.end(),
                                      [&](const Feature& f) { return f.name == name; }) != features.end();
      if (!name.empty() && !known) features.push_back({row, name});
    }
  }
  return features;
}

}  // namespace

const std::vector<Feature>& features() {
  static const std::vector<Feature> all = all_spellings();
  return all;
}

const Feature* find_feature(std::string_view name) {
  static const auto by_name = [] {
    std::unordered_map<std::string_view, const Feature*> map;
    for (const Feature& feature : features()) map.emplace(feature.name, &feature);  // the first row that has it
    return map;
  }();
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : found->second;
}

std::string unknown_feature(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Feature& feature : features()) names.push_back(feature.name);
  std::string text = "unknown CPU feature '" + toolstack::cut(name) + "'";
  if (const auto near = text::nearest(name, names)) text.append(", did you mean '").append(*near).append("'?");
  return text;
}

}  // namespace cloister::policy
