// What a domain may be called.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/shown.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

inline constexpr std::size_t longest_name = 128;
inline constexpr std::string_view name_rule =
    "letters, digits and - _ . +, a letter or a digit first, not digits alone, no UUID, 128 at most";

/// Digits alone are a domain's number, which does wherever a name does, and so does its UUID.
inline bool valid_name(std::string_view name) {
  constexpr std::string_view digits = "0123456789",
                             first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
                             all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+";
  return !name.empty() && name.size() <= longest_name && first.find(name.front()) != std::string_view::npos &&
         name.find_first_not_of(all) == std::string_view::npos &&
         name.find_first_not_of(digits) != std::string_view::npos && !read_uuid(name);
}

/// What is wrong with it as a name.
inline std::optional<std::string> name_refused(std::string_view name) {
  if (valid_name(name)) return std::nullopt;
  return "found " + shown(name) + ", expected " + std::string(name_rule);
}

}  // namespace cloister::toolstack
