// Positions are counted from the offsets that the parser keeps.
#include "toolstack/xml.hpp"

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

}  // namespace cloister::toolstack::xml
