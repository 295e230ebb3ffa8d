// Positions are counted from the offsets that the parser keeps.
#include "text/xml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace cloister::toolstack::xml {

namespace {

Position position_at(std::string_view text, std::ptrdiff_t offset) {
  if (offset < 0 || static_cast<std::size_t>(offset) > text.size()) return {};
  const std::string_view before = text.substr(0, static_cast<std::size_t>(offset));
  const auto line_start = before.rfind('\n');
  return {.line = static_cast<u32>(std::ranges::count(before, '\n')) + 1,
          .column = static_cast<u32>(before.size() - (line_start == before.npos ? 0 : line_start + 1)) + 1};
}

/// Bytes of the character that the text begins with, as UTF-8 encodes it (RFC 3629); 0 for what is none, or what XML
/// does not allow.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const u32 first = byte(0);
  if (first < 0x80) return first >= 0x20 || first == '\t' || first == '\n' || first == '\r' ? 1 : 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  u32 character = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    character = character << 6 | (byte(i) & 0x3f);
  }
  constexpr u32 least[] = {0, 0, 0x80, 0x800, 0x1'0000};
  const bool surrogate = character >= 0xd800 && character <= 0xdfff;
  const bool excluded = character == 0xfffe || character == 0xffff || character > 0x10'ffff;
  return character < least[length] || surrogate || excluded ? 0 : length;
}

}  // namespace

tl::expected<Document, Diagnostic> Document::parse(std::string_view text) {
  Document document;
  document.text_ = text;
  const auto result =
      document.document_.load_buffer(text.data(), text.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!result)
    return tl::unexpected(
        Diagnostic{position_at(text, result.offset), fmt::format("this is no XML: {}", result.description())});
  if (!document.root()) return tl::unexpected(Diagnostic{{1, 1}, "found no element, expected an XML document"});
  return document;
}

Position Document::position_of(pugi::xml_node node) const {
  if (!node) return {};
  // The offset is that of the name, one after the bracket.
  return position_at(text_, std::max<std::ptrdiff_t>(node.offset_debug() - 1, 0));
}

std::optional<u64> number(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == text.npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(blanks) - first + 1);
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  u64 value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string sayable(std::string_view text) {
  std::string kept;
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length == 0) {
      kept += '?';
      text.remove_prefix(1);
    } else {
      kept += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return kept;
}

}  // namespace cloister::toolstack::xml
