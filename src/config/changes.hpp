// One text of a configuration against another, by what it comes to and not by how it is written.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace cloister::toolstack {

struct PlacedText {
  std::string_view text, directory;  ///< directory: of its relative paths
};

/// The keys that have another value in the one than in the other, by name: what is said in another way, and a default
/// that is said, is the same, and a path is the file that it leads to. A key that is ignored has none. Of a text with
/// an error, the keys that are set to something else count.
std::vector<std::string> changed_keys(const PlacedText& one, const PlacedText& other);

/// The text with another name, and nothing else changed: not a byte outside the quotes of its `name`. The error says
/// what is in the way.
tl::expected<std::string, std::string> renamed(std::string_view text, const std::string& name);

/// The text with other targets of its disks, by their vdev, and nothing else changed. The error says what is in the
/// way.
tl::expected<std::string, std::string> retargeted(std::string_view text,
                                                  const std::map<std::string, std::string>& targets);

}  // namespace cloister::toolstack
