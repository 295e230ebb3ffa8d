// Bits that a tool told of by the names of features.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include "policy/policy.hpp"

namespace cloister::tests {

inline policy::CpuidTable named_bits(std::initializer_list<std::pair<std::string_view, bool>> features) {
  policy::CpuidTable table;
  for (const auto& [name, on] : features) table.learn(*policy::find_feature(name), on);
  return table;
}

}  // namespace cloister::tests
