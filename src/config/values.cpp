// Strings, integers, booleans and words. As in libxlu, a number in quotes is a number.
#include "config/values.hpp"

#include <charconv>
#include <concepts>
#include <type_traits>
#include <utility>

#include "text/alternatives.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using Kind = xl::Value::Kind;

/// The bases of strtol with base 0, which libxlu uses.
std::pair<std::string_view, int> split_base(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) return {text.substr(2), 16};
  if (text.size() > 1 && text.starts_with("0")) return {text.substr(1), 8};
  return {text, 10};
}

tl::unexpected<Diagnostic> not_a_number(const xl::Setting& setting, const std::string& least, const std::string& most,
                                        std::string_view unit) {
  std::string expected = "a number from " + least + " to " + most;
  if (!unit.empty()) expected.append(" (in ").append(unit).append(", without a unit)");
  return wrong(setting, expected);
}

template <std::integral T>
tl::expected<T, Diagnostic> read_number(const xl::Setting& setting, T least, T most, std::string_view unit) {
  const auto refuse = [&] { return not_a_number(setting, std::to_string(least), std::to_string(most), unit); };
  if (setting.value.kind == Kind::list || setting.appended) return refuse();
  std::string_view text = setting.value.text;
  const bool negative = std::is_signed_v<T> && text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const auto [digits, base] = split_base(text);
  u64 number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  if (error != std::errc() || stop != end || !std::in_range<T>(number)) return refuse();
  const T value = negative ? static_cast<T>(0 - static_cast<T>(number)) : static_cast<T>(number);
  if (value < least || value > most) return refuse();
  return value;
}

}  // namespace

std::string shown(const xl::Value& value) {
  switch (value.kind) {
    case Kind::number: return cut(value.text);
    case Kind::list: return "a list";
    case Kind::string: break;
  }
  std::string text = "\"";
  for (const char c : cut(value.text)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return text + '"';
}

tl::unexpected<Diagnostic> wrong(const xl::Setting& setting, const std::string& expected) {
  return tl::unexpected(
      Diagnostic{setting.value.at, "'" + setting.name + "': found " + shown(setting.value) + ", expected " + expected});
}

tl::expected<std::string, Diagnostic> read_string(const xl::Setting& setting) {
  if (setting.value.kind == Kind::list) return wrong(setting, "a string in quotes");
  if (setting.value.text.find('\0') != std::string::npos) {
    return tl::unexpected(Diagnostic{setting.value.at, "'" + setting.name + "': found a NUL character in the string"});
  }
  return setting.value.text;
}

tl::expected<u64, Diagnostic> read_integer(const xl::Setting& setting, u64 least, u64 most, std::string_view unit) {
  return read_number(setting, least, most, unit);
}

tl::expected<i64, Diagnostic> read_signed(const xl::Setting& setting, i64 least, i64 most, std::string_view unit) {
  return read_number(setting, least, most, unit);
}

tl::expected<bool, Diagnostic> read_boolean(const xl::Setting& setting) {
  if (setting.value.kind != Kind::list && setting.value.text == "0") return false;
  if (setting.value.kind != Kind::list && setting.value.text == "1") return true;
  return wrong(setting, "0 or 1");
}

tl::expected<std::size_t, Diagnostic> read_word(const xl::Setting& setting, std::span<const std::string_view> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (setting.value.kind == Kind::string && setting.value.text == words[i]) return i;
  }
  return wrong(setting, alternatives(words));
}

}  // namespace cloister::toolstack
