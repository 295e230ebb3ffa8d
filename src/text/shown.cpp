#include "text/shown.hpp"

namespace cloister::toolstack {

std::string shown(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string result = "'";
  for (const char c : text.substr(0, longest)) result += c >= ' ' && c <= '~' ? c : '?';
  return result.append(text.size() > longest ? "…'" : "'");
}

}  // namespace cloister::toolstack
