// A Vm's features in the words of one tool, with the losses that tools have in common.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "interop/vm/vm.hpp"
#include "policy/cpu_map.hpp"
#include "policy/flags.hpp"

namespace cloister::toolstack::vm {

struct SpokenFeature {
  std::string name;  ///< as the tool spells it
  FeaturePolicy policy = FeaturePolicy::require;
};
/// The features in their order; one that the tool has no word for is a loss.
std::vector<SpokenFeature> spoken(const Cpu& cpu, policy::Tool tool, std::vector<Loss>& losses,
                                  const policy::CpuMap* map = nullptr);

/// libvirt's word: "require", "forbid", ….
std::string_view word_of(FeaturePolicy policy);

}  // namespace cloister::toolstack::vm
