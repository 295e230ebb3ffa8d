// A value ends with the bracket that closes its first one; the parser then sees each value alone.
#include "interop/hosts/json_stream.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "interop/hosts/formats.hpp"

namespace cloister::toolstack::hosts {

namespace {

constexpr unsigned deepest = 64;  // QMP's answers have less than ten

/// Counts lines as it goes forward.
class Place {
 public:
  explicit Place(std::string_view text) : text_(text) {}
  Position at(std::size_t offset) {
    for (; passed_ < std::min(offset, text_.size()); ++passed_) {
      if (text_[passed_] != '\n') continue;
      ++line_;
      line_start_ = passed_ + 1;
    }
    return {line_, static_cast<u32>(passed_ - line_start_) + 1};
  }

 private:
  std::string_view text_;
  std::size_t passed_ = 0, line_start_ = 0;
  u32 line_ = 1;
};

/// The length of the value that begins with a bracket; what is nested too deeply counts as ending there, with `deep`
/// set. A text that stops inside a value is a value to its end.
std::size_t length_of(std::string_view text, bool& deep) {
  unsigned depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      deep = ++depth > deepest;
      if (deep) return i;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return i + 1;
    }
  }
  return text.size();
}

/// Only listens for where parsing fails.
struct FirstError : nlohmann::json_sax<nlohmann::json> {
  std::size_t offset = 0;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    offset = position == 0 ? 0 : position - 1;  // counted from 1
    return false;
  }
};

}  // namespace

tl::expected<std::vector<JsonPiece>, Diagnostic> read_json_stream(std::string_view text) {
  std::vector<JsonPiece> pieces;
  Place place(text);
  std::size_t begin = 0;
  const auto error = [&](std::size_t offset, const std::string& message) {
    return tl::unexpected(Diagnostic{place.at(offset), message});
  };
  while ((begin = text.find_first_not_of(" \t\r\n", begin)) != text.npos) {
    if (text[begin] != '{' && text[begin] != '[')
      return error(begin, fmt::format("found '{}', expected a JSON object", shown(text.substr(begin, 1))));
    bool deep = false;
    const std::string_view piece = text.substr(begin, length_of(text.substr(begin), deep));
    if (deep) return error(begin + piece.size(), fmt::format("found brackets nested more than {} deep", deepest));
    const Position at = place.at(begin);
    nlohmann::json value = nlohmann::json::parse(piece, nullptr, false);
    if (value.is_discarded()) {
      FirstError first;
      nlohmann::json::sax_parse(piece, &first);
      const std::size_t offset = begin + std::min(first.offset, piece.size());
      const std::string found =
          offset < begin + piece.size() ? fmt::format("'{}'", shown(text.substr(offset, 1))) : std::string("the end");
      return error(offset, "this is no JSON: found " + found);
    }
    pieces.push_back({at, std::move(value)});
    begin += piece.size();
  }
  return pieces;
}

}  // namespace cloister::toolstack::hosts
