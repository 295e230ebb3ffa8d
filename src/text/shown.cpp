#include "text/shown.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.hpp"

namespace cloister::toolstack {

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t size = utf8_character(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(size, 1));
    if (size == 0) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(character.front()));
    } else {
      result += is_control_character(character) ? "?" : character;
    }
    text.remove_prefix(character.size());
  }
  return result;
}

std::string shown(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string result = "'";
  for (const char c : text.substr(0, longest)) result += c >= ' ' && c <= '~' ? c : '?';
  return result.append(text.size() > longest ? "…'" : "'");
}

}  // namespace cloister::toolstack
