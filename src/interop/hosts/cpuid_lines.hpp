// What cpuid(1) without -r prints of features, "WORDS = true" below a heading with the leaf's number.
#pragma once

#include <span>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack::hosts {

struct CpuidLine {
  u32 leaf;  ///< words mean something else below another's heading
  std::string_view words;
  std::string_view feature;  ///< its first name
};
std::span<const CpuidLine> cpuid_lines_of_features();

}  // namespace cloister::toolstack::hosts
