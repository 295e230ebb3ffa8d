// What a domain may be called.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace cloister::toolstack {

inline constexpr std::string_view name_rule = "letters, digits and - _ . +, a letter or a digit first";

/// In a configuration.
inline bool valid_name(std::string_view name) {
  constexpr std::string_view first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", more = "-_.+";
  return !name.empty() && first.find(name.front()) != std::string_view::npos && std::ranges::all_of(name, [&](char c) {
    return first.find(c) != std::string_view::npos || more.find(c) != std::string_view::npos;
  });
}

/// Among the domains of a machine, where a number would do for a name too: why not this one.
inline std::optional<std::string> wrong_name(const std::string& name) {
  constexpr std::size_t longest = 128;
  if (name.size() > longest) return "a name has at most " + std::to_string(longest) + " characters";
  if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
    return "'" + name + "' could be taken for a domain's number";
  return std::nullopt;
}

}  // namespace cloister::toolstack
