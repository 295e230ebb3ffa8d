// What a name in a wish stands for (level.hpp).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "policy/level.hpp"

namespace cloister::policy {

/// What a name stands for: a feature of our table, or one that only the map has.
struct Named {
  const Feature* feature = nullptr;
  const MapFeature* mapped = nullptr;
  std::string name() const { return feature != nullptr ? std::string(feature->name) : mapped->name; }
};

/// By any tool's word; letters may be capital, as in the manual.
std::optional<Named> find_name(std::string_view name, const CpuMap& map);

/// What to say of a word that is no flag's, or no model's.
UnknownName unknown_flag(const std::string& name, const CpuMap& map);
UnknownName unknown_model(const std::string& name, const CpuMap& map);

}  // namespace cloister::policy
