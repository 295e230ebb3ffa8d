// JSON that a stranger wrote. A few bytes of it can be a value of many, and a value in a value in a value: whether a
// text keeps to its bounds is seen before anything is made of it.
#pragma once

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace cloister::toolstack {

struct JsonBounds {
  std::size_t deepest = 32;                                           ///< arrays and objects in each other
  std::size_t most_values = std::numeric_limits<std::size_t>::max();  ///< of any kind, and names of members
};

/// The text's value, or why there is none.
tl::expected<nlohmann::json, std::string> parse_json(std::string_view text, const JsonBounds& bounds = {});

}  // namespace cloister::toolstack
