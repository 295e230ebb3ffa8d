#include "text/shown.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <climits>

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

std::string cut(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  constexpr std::size_t longest_character = 4;
  const auto goes_on = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0u) == 0x80; };
  std::size_t end = most;
  while (end > 0 && most - end + 1 < longest_character && goes_on(end)) --end;
  return std::string(text.substr(0, end)).append("…");
}

std::string cut_path(std::string_view path) { return cut(path, PATH_MAX); }

std::string shown(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, longest_quoted)) result += c >= ' ' && c <= '~' ? c : '?';
  return result.append(text.size() > longest_quoted ? "…'" : "'");
}

}  // namespace cloister::toolstack
