// The grammar of Xen's xl.cfg (xl.cfg(5), "SYNTAX"; libxlu): settings `name = value` or `name += value`, ended by a
// newline or a semicolon; a value is a number, a string, or a list in brackets, which may be nested, run over lines and
// end with a comma.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "text/diagnostic.hpp"

namespace cloister::toolstack::xl {

struct Value {
  enum class Kind : u8 { number, string, list };
  Kind kind = Kind::string;
  std::string text;         ///< number: as written; string: its bytes
  std::vector<Value> list;  ///< list: its elements
  Position at;
};

struct Setting {
  std::string name;
  Position at;
  Value value;
  bool appended = false;  ///< made with +=
};

struct Document {
  std::vector<Setting> settings;     ///< one for each name, in order of first appearance
  std::vector<Diagnostic> warnings;  ///< settings that a later one replaced
  std::size_t comparisons = 0;       ///< of names, which parsing took
  const Setting* find(std::string_view name) const;
};

/// Takes time as the text is long, but for a logarithm.
tl::expected<Document, Diagnostic> parse(std::string_view text);

}  // namespace cloister::toolstack::xl
