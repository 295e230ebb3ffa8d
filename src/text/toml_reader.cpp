// Values of a TOML document, and the errors about them.
#include "text/toml_reader.hpp"

#include <fmt/format.h>

#include "text/alternatives.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::tables {

namespace {

/// Text in quotes, without control characters, and not too long for a line.
std::string in_quotes(std::string_view text) { return fmt::format("\"{}\"", printable(cut(text))); }

std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return in_quotes(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  return "a date or time";
}

}  // namespace

std::string ascii_only(std::string_view text) {
  std::string result(text);
  std::ranges::replace_if(
      result, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return result;
}

tl::unexpected<Diagnostic> Value::error(const std::string& message) const {
  return tl::unexpected(Diagnostic{at(), "'" + name + "': " + message});
}

tl::unexpected<Diagnostic> Value::wrong(const std::string& expected) const {
  return error("found " + shown(node) + ", expected " + expected);
}

tl::expected<std::string, Diagnostic> Value::string(const std::string& expected) const {
  const auto* text = node.as_string();
  if (text == nullptr || text->get().find('\0') != std::string::npos) return wrong(expected);
  return text->get();
}

tl::expected<u64, Diagnostic> Value::integer(u64 least, u64 most, std::string_view unit) const {
  const auto* number = node.as_integer();
  if (number == nullptr || number->get() < 0 || static_cast<u64>(number->get()) < least ||
      static_cast<u64>(number->get()) > most) {
    return wrong(fmt::format("a number from {} to {}{}", least, most, unit.empty() ? "" : fmt::format(" ({})", unit)));
  }
  return static_cast<u64>(number->get());
}

tl::expected<std::size_t, Diagnostic> Value::word(std::span<const std::string_view> words) const {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (const auto* text = node.as_string(); text != nullptr && text->get() == words[i]) return i;
  }
  return wrong(alternatives(words));
}

tl::expected<std::vector<Value>, Diagnostic> Value::elements(const std::string& expected) const {
  const auto* array = node.as_array();
  if (array == nullptr) return wrong(expected);
  std::vector<Value> values;
  for (const toml::node& element : *array) values.push_back({name, element});
  return values;
}

Diagnostic unknown_key(const toml::key& key, std::span<const std::string_view> names) {
  std::string message = fmt::format("unknown key {}", in_quotes(key.str()));
  if (const auto near = text::nearest(key.str(), names)) {
    message += fmt::format(", did you mean '{}'?", *near);
  } else {
    message += fmt::format(", expected {}", fmt::join(names, ", "));
  }
  return {position(key.source().begin), std::move(message)};
}

}  // namespace cloister::toolstack::tables
