// The parts of a short text: words of a column, arguments with NULs between them.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

namespace cloister::text {

/// What stands between separators. One at the end ends the last part and begins none; of an empty text there is none.
template <class Part = std::string_view>
std::vector<Part> split(std::string_view text, char separator) {
  std::vector<Part> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

}  // namespace cloister::text
