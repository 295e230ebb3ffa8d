// Reading a TOML document by tables of fields, with errors that stand at a line and a column. What every such file of
// ours shares: what a value must look like, and what is said of one that does not.
#pragma once

// The parser is compiled into the files that include this one, and returns its errors. It asserts, or with NDEBUG
// assumes, that a key begins as keys do, and then has an error for keys that do not (version 3.3, parse_key, "[[["):
// the error is what we want.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(expression) static_assert(true)
#pragma push_macro("NDEBUG")
#undef NDEBUG
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/try.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::tables {

using Done = tl::expected<void, Diagnostic>;

/// What the parser is given for a text: bytes beyond ASCII are question marks. Our keys and values have none, columns
/// are then bytes, and some such characters lead version 3.3 of the parser into undefined behaviour
/// (is_non_ascii_horizontal_whitespace).
std::string ascii_only(std::string_view text);

inline Position position(toml::source_position at) { return {.line = at.line, .column = at.column}; }

/// A value with the name that messages give it.
struct Value {
  std::string name;
  const toml::node& node;

  Position at() const { return position(node.source().begin); }
  /// "'NAME': MESSAGE" at the value.
  tl::unexpected<Diagnostic> error(const std::string& message) const;
  /// "'NAME': found …, expected …".
  tl::unexpected<Diagnostic> wrong(const std::string& expected) const;

  tl::expected<std::string, Diagnostic> string(const std::string& expected) const;
  tl::expected<u64, Diagnostic> integer(u64 least, u64 most, std::string_view unit = {}) const;
  /// One of the words; the result is its index.
  tl::expected<std::size_t, Diagnostic> word(std::span<const std::string_view> words) const;
  /// The elements of an array.
  tl::expected<std::vector<Value>, Diagnostic> elements(const std::string& expected) const;
};

template <class To>
struct Field {
  std::string_view name;
  Done (*read)(To&, const Value&);
};

/// The error for a key that no field has, with the nearest one.
Diagnostic unknown_key(const toml::key& key, std::span<const std::string_view> names);

/// Reads every key of a table by its field, in the order of the file; the error is the first one.
template <class To>
Done read_table(To& to, const toml::table& table, std::span<const Field<To>> fields) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::ranges::stable_sort(
      entries, [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
  for (const auto& [key, node] : entries) {
    const auto field = std::ranges::find(fields, key->str(), &Field<To>::name);
    if (field == fields.end()) {
      std::vector<std::string_view> names;
      for (const Field<To>& f : fields) names.push_back(f.name);
      return tl::unexpected(unknown_key(*key, names));
    }
    TRY(field->read(to, Value{std::string(key->str()), *node}));
  }
  return {};
}

}  // namespace cloister::toolstack::tables
