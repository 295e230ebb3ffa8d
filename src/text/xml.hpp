// XML that somebody else wrote, read with positions: pugixml parses (no entities but XML's own, no network), and an
// error stands at a line and a column like those of configurations.
#pragma once

#include <optional>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "text/diagnostic.hpp"

namespace cloister::toolstack::xml {

class Document {
 public:
  /// The root element is what parsed text has; the error is the first one.
  static tl::expected<Document, Diagnostic> parse(std::string_view text);

  pugi::xml_node root() const { return document_.document_element(); }
  /// Where a node begins; the file as a whole for a null node.
  Position position_of(pugi::xml_node node) const;
  tl::unexpected<Diagnostic> error(pugi::xml_node node, const std::string& message) const {
    return tl::unexpected(Diagnostic{position_of(node), message});
  }

 private:
  pugi::xml_document document_;
  std::vector<std::size_t> lines_;  ///< where each begins: for positions
  std::size_t size_ = 0;            ///< of the text
};

/// A whole number, decimal or 0x hexadecimal, with blanks around it; nullopt for anything else.
std::optional<u64> number(std::string_view text);

/// The text with a question mark for each byte of what XML 1.0 cannot hold (section 2.2, Char): control characters, and
/// bytes that are no UTF-8.
std::string sayable(std::string_view text);

}  // namespace cloister::toolstack::xml
