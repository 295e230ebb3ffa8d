// Numbers as 0x1f.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>

#include "arch/types.hpp"

namespace cloister::policy {

/// With `digits` digits at least.
inline std::string hexadecimal(u32 value, std::size_t digits = 1) {
  char plain[8];
  const auto size = static_cast<std::size_t>(std::to_chars(plain, std::end(plain), value, 16).ptr - plain);
  std::string text = "0x";
  text.append(digits - std::min(digits, size), '0').append(plain, size);
  return text;
}

}  // namespace cloister::policy
