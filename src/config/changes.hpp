// One text of a configuration against another, by what they set and not by how it is written.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace cloister::toolstack {

/// The keys that one of them sets and the other does not, or to another value, by name. A text that cannot be read sets
/// nothing.
std::vector<std::string> changed_keys(std::string_view one, std::string_view other);

/// The text with another name, and nothing else changed: not a byte outside the quotes of its `name`. The error says
/// what is in the way.
tl::expected<std::string, std::string> renamed(std::string_view text, const std::string& name);

}  // namespace cloister::toolstack
