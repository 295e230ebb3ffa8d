// Positions are counted from the offsets that the parser keeps.
#include "text/xml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>

#include "text/control.hpp"

namespace cloister::toolstack::xml {

namespace {

std::vector<std::size_t> line_starts(std::string_view text) {
  std::vector<std::size_t> starts{0};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

Position position_at(const std::vector<std::size_t>& lines, std::size_t size, std::ptrdiff_t offset) {
  if (offset < 0 || static_cast<std::size_t>(offset) > size) return {};
  const auto at = static_cast<std::size_t>(offset);
  const auto next = std::ranges::upper_bound(lines, at);
  return {.line = static_cast<u32>(next - lines.begin()), .column = static_cast<u32>(at - *std::prev(next)) + 1};
}

/// XML's own references (section 4.6), and by their numbers the characters that XML has (section 2.2).
bool is_reference(std::string_view name) {
  for (const std::string_view known : {"amp", "lt", "gt", "quot", "apos"}) {
    if (name == known) return true;
  }
  if (!name.starts_with('#')) return false;
  const bool hexadecimal = name.starts_with("#x");
  name.remove_prefix(hexadecimal ? 2 : 1);
  u32 character = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), character, hexadecimal ? 16 : 10);
  const bool control =
      character < 0x20 ? character != '\t' && character != '\n' && character != '\r' : character == 0x7f;
  const bool surrogate = character >= 0xd800 && character <= 0xdfff;
  return error == std::errc() && end == name.data() + name.size() && !control && !surrogate && character <= 0x10'ffff;
}

/// The first '&' that begins none; the parser would take it as text.
std::optional<std::size_t> find_foreign_reference(std::string_view text) {
  struct Skipped {
    std::string_view begin, end;
  };
  constexpr Skipped skipped[] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};
  constexpr std::size_t longest = 16;
  for (std::size_t i = text.find_first_of("<&"); i < text.size(); i = text.find_first_of("<&", i)) {
    const std::string_view rest = text.substr(i);
    if (rest.front() == '&') {
      const std::size_t end = rest.substr(0, longest).find(';');
      if (end == rest.npos || !is_reference(rest.substr(1, end - 1))) return i;
    }
    std::size_t length = 1;
    for (const Skipped& part : skipped) {
      if (rest.starts_with(part.begin)) length = rest.find(part.end);
    }
    // A document type declares entities, whose values may have references to others.
    if (rest.starts_with("<!DOCTYPE")) {
      const std::size_t subset = rest.find('['), close = rest.find('>');
      length = subset < close ? rest.find(']') : close;
    }
    i += std::min(length, rest.size());
  }
  return std::nullopt;
}

/// The first element that has an attribute twice; null: there is none.
pugi::xml_node find_repeated_attribute(pugi::xml_node root) {
  struct Walker : pugi::xml_tree_walker {
    pugi::xml_node found;
    bool for_each(pugi::xml_node& node) override {
      std::set<std::string_view> names;
      for (const pugi::xml_attribute attribute : node.attributes()) {
        if (!names.insert(attribute.name()).second) found = node;
      }
      return !found;
    }
  } walker;
  root.traverse(walker);
  return walker.found;
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
  document.lines_ = line_starts(text);
  document.size_ = text.size();
  const auto at = [&](std::ptrdiff_t offset) { return position_at(document.lines_, document.size_, offset); };
  const auto result =
      document.document_.load_buffer(text.data(), text.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!result)
    return tl::unexpected(Diagnostic{at(result.offset), fmt::format("this is no XML: {}", result.description())});
  // The parser takes any; XML has none of them.
  if (auto control = find_control(text, "XML")) return tl::unexpected(std::move(*control));
  if (!document.root()) return tl::unexpected(Diagnostic{{1, 1}, "found no element, expected an XML document"});
  if (const auto reference = find_foreign_reference(text))
    return tl::unexpected(Diagnostic{at(static_cast<std::ptrdiff_t>(*reference)),
                                     "found '&' before no reference of XML's own, expected one such as '&amp;': "
                                     "entities that a document declares are not read"});
  if (const pugi::xml_node twice = find_repeated_attribute(document.document_))
    return document.error(twice, fmt::format("this is no XML: '{}' has an attribute twice", sayable(twice.name())));
  return document;
}

Position Document::position_of(pugi::xml_node node) const {
  if (!node) return {};
  // The offset is that of the name, one after the bracket.
  return position_at(lines_, size_, std::max<std::ptrdiff_t>(node.offset_debug() - 1, 0));
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
