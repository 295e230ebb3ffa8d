#include "interop/vm/spoken.hpp"

#include <fmt/format.h>

#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

std::string_view word_of(FeaturePolicy policy) {
  constexpr std::string_view words[] = {"force", "require", "optional", "disable", "forbid"};
  return words[static_cast<std::size_t>(policy)];
}

std::vector<SpokenFeature> spoken(const Cpu& cpu, policy::Tool tool, std::vector<Loss>& losses,
                                  const policy::CpuMap* map) {
  std::vector<SpokenFeature> result;
  for (const CpuFeature& feature : cpu.features) {
    const auto word = word_of_name(feature.name, tool, map);
    const std::string what = "feature " + (is_word(feature.name) ? feature.name : shown(feature.name));
    if (!word) {
      losses.push_back({what, word.error()});
    } else {
      result.push_back({*word, feature.policy});
    }
  }
  return result;
}

}  // namespace cloister::toolstack::vm
