#include "toolstack/vm/spoken.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "toolstack/shown.hpp"

namespace cloister::toolstack::vm {

bool is_name(std::string_view text) {
  constexpr std::string_view between = "._-+";
  return !text.empty() && text.front() != '-' && text.front() != '+' && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           between.find(c) != between.npos;
  });
}

std::string_view word_of(FeaturePolicy policy) {
  constexpr std::string_view words[] = {"force", "require", "optional", "disable", "forbid"};
  return words[static_cast<std::size_t>(policy)];
}

std::vector<SpokenFeature> spoken(const Cpu& cpu, policy::Tool tool, std::vector<Loss>& losses) {
  std::vector<SpokenFeature> result;
  for (const CpuFeature& feature : cpu.features) {
    const policy::Feature* known = policy::find_feature(feature.name);
    // What our table lacks was read from libvirt or QEMU, which share most words.
    const bool foreign = known == nullptr && tool != policy::Tool::libvirt && tool != policy::Tool::qemu;
    const std::string name(known == nullptr ? feature.name : policy::spelling(*known, tool));
    if (!is_name(feature.name)) {
      losses.push_back({"feature " + shown(feature.name), "it is no name of a CPU feature"});
    } else if (name.empty() || foreign) {
      losses.push_back({"feature " + feature.name, fmt::format("{} has no word for it", policy::name_of(tool))});
    } else {
      result.push_back({name, feature.policy});
    }
  }
  return result;
}

}  // namespace cloister::toolstack::vm
