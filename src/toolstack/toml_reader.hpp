// Reading a TOML document by tables of fields, with errors that stand at a line and a column. What every such file of
// ours shares: what a value must look like, and what is said of one that does not.
#pragma once

// The parser is compiled into the files that include this one, and returns its errors.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "toolstack/diagnostic.hpp"

namespace cloister::toolstack::tables {

using Done = tl::expected<void, Diagnostic>;

/// A document's text, for columns in bytes: the parser counts characters.
class Source {
 public:
  explicit Source(std::string_view text) : text_(text) {}
  Position position(const toml::source_region& region) const { return position(region.begin); }
  Position position(toml::source_position at) const;

 private:
  std::string_view text_;
};

/// A value with the name that messages give it.
struct Value {
  const Source& source;
  std::string name;
  const toml::node& node;

  Position at() const { return source.position(node.source()); }
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
Diagnostic unknown_key(const Source& source, const toml::key& key, std::span<const std::string_view> names);

/// Reads every key of a table by its field, in the order of the file; the error is the first one.
template <class To>
Done read_table(To& to, const Source& source, const toml::table& table, std::span<const Field<To>> fields) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::ranges::stable_sort(
      entries, [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
  for (const auto& [key, node] : entries) {
    const auto field = std::ranges::find(fields, key->str(), &Field<To>::name);
    if (field == fields.end()) {
      std::vector<std::string_view> names;
      for (const Field<To>& f : fields) names.push_back(f.name);
      return tl::unexpected(unknown_key(source, *key, names));
    }
    if (auto done = field->read(to, Value{source, std::string(key->str()), *node}); !done) return done;
  }
  return {};
}

}  // namespace cloister::toolstack::tables
