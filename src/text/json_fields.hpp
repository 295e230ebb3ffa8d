// Reading the members of a JSON object that somebody else wrote: each is checked for its type and range, and the first
// that is wrong is named. Nothing here throws.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "text/bounded_json.hpp"
#include "text/json_text.hpp"

namespace cloister::toolstack {

/// Parses a text that must be one JSON object, within its bounds.
tl::expected<nlohmann::json, std::string> parse_object(std::string_view text, const JsonBounds& bounds = {});

/// Members are read one after the other; after the first error the rest does nothing.
class JsonFields {
 public:
  /// The object must outlive this.
  explicit JsonFields(const nlohmann::json& object);

  JsonFields& text(const char* name, std::string& to);
  JsonFields& number(const char* name, u64& to, u64 most = std::numeric_limits<u64>::max());
  JsonFields& number(const char* name, u32& to, u32 most = std::numeric_limits<u32>::max());
  JsonFields& boolean(const char* name, bool& to);
  /// An array, whose elements the caller reads; empty after an error.
  const nlohmann::json& list(const char* name);
  bool has(const char* name) const { return object_.is_object() && object_.contains(name); }

  /// Members that nobody asked for are errors.
  void refuse_others();
  void fail(std::string why);
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }

 private:
  const nlohmann::json* find(const char* name);
  void wrong(const char* name, const char* expected);

  const nlohmann::json& object_;
  std::set<std::string, std::less<>> known_;
  std::string error_;
};

}  // namespace cloister::toolstack
