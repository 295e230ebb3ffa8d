// The words of a wish: flags and models by any tool's name, and what to say of one that is nobody's.
#include "policy/flag_names.hpp"

#include <algorithm>

#include "policy/flags.hpp"
#include "policy/libvirt_features.hpp"
#include "text/nearest.hpp"

namespace cloister::policy {

namespace {

constexpr std::size_t most_suggestions = 3;

/// The first name's row of the feature's bit.
const Feature* first_of(const Feature& feature) { return &*std::ranges::find(features(), feature); }

std::optional<Named> find_name_as_written(std::string_view name, const CpuMap& map) {
  const Feature* feature = find_feature(name);
  for (const Tool tool : tools) {
    if (feature == nullptr) feature = find_spelling(name, tool);
  }
  const MapFeature* mapped = map.find_feature(name);
  if (feature == nullptr && mapped == nullptr) mapped = more_of_libvirts_features().find_feature(name);
  if (feature == nullptr && mapped != nullptr) feature = feature_of(*mapped);
  if (feature == nullptr && mapped == nullptr) return std::nullopt;
  if (feature != nullptr) feature = first_of(*feature);
  if (mapped == nullptr) {
    const auto same = [&](const MapFeature& m) {
      const Feature* const f = feature_of(m);
      return f != nullptr && first_of(*f) == feature;
    };
    const auto found = std::ranges::find_if(map.features, same);
    if (found != map.features.end()) mapped = &*found;
  }
  return Named{feature, mapped};
}

}  // namespace

std::optional<Named> find_name(std::string_view name, const CpuMap& map) {
  if (const auto named = find_name_as_written(name, map)) return named;
  std::string small(name);
  std::ranges::transform(small, small.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return find_name_as_written(small, map);
}

UnknownName unknown_flag(const std::string& name, const CpuMap& map) {
  std::vector<std::string_view> candidates;
  const auto add = [&](std::string_view candidate) {
    if (!candidate.empty() && std::ranges::find(candidates, candidate) == candidates.end()) {
      candidates.push_back(candidate);
    }
  };
  for (const Feature& feature : features()) add(feature.name);
  for (const SgxFlag& flag : sgx_flags()) {
    for (const std::string_view word : {flag.libvirt, flag.qemu, flag.xen, flag.cpuinfo, flag.cpuid}) add(word);
  }
  for (const CpuMap* const features : {&map, &more_of_libvirts_features()}) {
    for (const MapFeature& feature : features->features) add(feature.name);
  }
  // Of several words for one flag the nearest is enough.
  UnknownName unknown{name, false, {}};
  std::vector<std::string> flags;
  for (const std::string_view near : text::nearest_few(name, candidates, candidates.size())) {
    const auto named = find_name(near, map);
    if (!named || unknown.nearest.size() == most_suggestions) continue;
    const std::string flag = named->name();
    if (std::ranges::find(flags, flag) != flags.end()) continue;
    flags.push_back(flag);
    unknown.nearest.emplace_back(near);
  }
  return unknown;
}

UnknownName unknown_model(const std::string& name, const CpuMap& map) {
  std::vector<std::string_view> candidates;
  for (const MapModel& model : map.models) candidates.push_back(model.name);
  UnknownName unknown{name, true, {}};
  for (const std::string_view near : text::nearest_few(name, candidates, most_suggestions))
    unknown.nearest.emplace_back(near);
  return unknown;
}

Wish read_wish(std::string_view names, const CpuMap& map) {
  Wish wish;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find_first_of(", \t\r\n"), names.size());
    std::string_view word = names.substr(0, end);
    names.remove_prefix(std::min(end + 1, names.size()));
    if (word.empty()) continue;
    const bool first = wish.model.empty() && wish.flags.empty() && wish.without.empty();
    // QEMU's models that are the host's processor, whatever it is.
    if (first && (word == "host" || word == "max")) continue;
    // Without models, a first word that is no flag is taken for one, of which nothing can be said.
    const bool may_be = map.models.empty() && word.find_first_of("+-=") != 0 && !word.ends_with("=on") &&
                        !word.ends_with("=off") && word.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != word.npos &&
                        !find_name(word, map);
    if (first && (map.find_model(word) != nullptr || may_be)) {
      wish.model = word;
      continue;
    }
    bool on = true;
    if (word.front() == '+' || word.front() == '-') {
      on = word.front() == '+';
      word.remove_prefix(1);
    } else if (word.ends_with("=on")) {
      word.remove_suffix(3);
    } else if (word.ends_with("=off")) {
      on = false;
      word.remove_suffix(4);
    }
    (on ? wish.flags : wish.without).emplace_back(word);
  }
  return wish;
}

std::string message_of(const UnknownName& unknown) {
  std::string text = (unknown.model ? "unknown CPU model '" : "unknown CPU flag '") + unknown.name + "'";
  for (std::size_t i = 0; i < unknown.nearest.size(); ++i) {
    text += i == 0 ? ", did you mean '" : i + 1 == unknown.nearest.size() ? " or '" : ", '";
    text += unknown.nearest[i] + "'";
  }
  return unknown.nearest.empty() ? text : text + "?";
}

}  // namespace cloister::policy
