// By table 3-7 of the Unicode standard: what may follow a first byte.
#include "text/utf8.hpp"

#include <algorithm>
#include <cstdint>

namespace cloister::toolstack {

namespace {

struct Sequence {
  std::uint8_t first, last;      ///< of the first byte
  std::uint8_t lowest, highest;  ///< of the second
  std::uint8_t size;
};
constexpr Sequence sequences[] = {
    {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};

struct Begun {
  std::size_t bytes;  ///< that may belong together; at least 1
  bool whole;
};

/// text: not empty.
Begun begin_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto* const sequence =
      std::ranges::find_if(sequences, [&](const Sequence& s) { return byte(0) >= s.first && byte(0) <= s.last; });
  if (sequence == std::end(sequences)) return {1, false};
  for (std::size_t i = 1; i < sequence->size; ++i) {
    const unsigned lowest = i == 1 ? sequence->lowest : 0x80, highest = i == 1 ? sequence->highest : 0xbf;
    if (i == text.size() || byte(i) < lowest || byte(i) > highest) return {i, false};
  }
  return {sequence->size, true};
}

}  // namespace

std::size_t utf8_character(std::string_view text) {
  if (text.empty()) return 0;
  const Begun begun = begin_of(text);
  return begun.whole ? begun.bytes : 0;
}

bool is_control_character(std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  return first < 0x20 || first == 0x7f || (first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0);
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const Begun begun = begin_of(text);
    valid.append(begun.whole ? text.substr(0, begun.bytes) : "\xef\xbf\xbd");
    text.remove_prefix(begun.bytes);
  }
  return valid;
}

std::size_t find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t size = utf8_character(text.substr(at));
    if (size == 0) return at;
    at += size;
  }
  return std::string_view::npos;
}

}  // namespace cloister::toolstack
