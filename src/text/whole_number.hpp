// A text that is a number, and nothing else.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace cloister::toolstack {

/// Without a sign before it, unless Number has one; nullopt: it is none, or too large.
template <class Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) {
  Number number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace cloister::toolstack
