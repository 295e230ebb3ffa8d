// The grammar is that of log.cpp, and no wider: KEY=VALUE, one space between two, values bare or in quotes.
#include "daemon/vmm_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace cloister::toolstack {

namespace {

using Fields = std::vector<std::pair<std::string_view, std::string>>;

bool printable(char c) { return c >= 0x20 && c < 0x7f; }
bool high(char c) { return static_cast<unsigned char>(c) >= 0x80; }
std::string escaped(char c) { return fmt::format("\\x{:02x}", static_cast<unsigned char>(c)); }

std::string_view take_while(std::string_view& text, auto&& fits) {
  const auto end = std::ranges::find_if_not(text, fits);
  const auto size = static_cast<std::size_t>(end - text.begin());
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

/// The value after the opening quote, with its quotes; bytes above ASCII are escaped.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string value = "\"";
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '"') return value + '"';
    if (high(c)) {
      value += escaped(c);
    } else if (!printable(c) || (c == '\\' && text.empty())) {
      return std::nullopt;
    } else {
      value += c;
      if (c != '\\') continue;
      if (!printable(text.front())) return std::nullopt;
      value += text.front();
      text.remove_prefix(1);
    }
  }
  return std::nullopt;
}

std::optional<Fields> fields_of(std::string_view line) {
  const auto in_key = [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || c == '-'; };
  const auto in_bare = [](char c) { return printable(c) && c != ' ' && c != '"' && c != '\\' && c != '='; };
  Fields fields;
  while (true) {
    const std::string_view key = take_while(line, in_key);
    if (key.empty() || !line.starts_with('=')) return std::nullopt;
    line.remove_prefix(1);
    std::optional<std::string> value;
    if (line.starts_with('"')) {
      line.remove_prefix(1);
      value = take_quoted(line);
    } else {
      value = take_while(line, in_bare);
      if (value->empty()) return std::nullopt;
    }
    if (!value) return std::nullopt;
    fields.emplace_back(key, std::move(*value));
    if (line.empty()) return fields;
    if (!line.starts_with(' ')) return std::nullopt;
    line.remove_prefix(1);
  }
}

const std::string* find(const Fields& fields, std::string_view key) {
  const auto found = std::ranges::find(fields, key, &Fields::value_type::first);
  return found == fields.end() ? nullptr : &found->second;
}

constexpr std::pair<std::string_view, LogLevel> levels[] = {
    {"info", LogLevel::info}, {"warning", LogLevel::warning}, {"error", LogLevel::error}};

/// Of the daemon's own in each line.
constexpr std::string_view ours[] = {"time", "level", "program", "event", "domain", "id"};

std::string whose(std::string_view event, const std::string& domain, u32 id) {
  return fmt::format("event={} {} id={}", event, logfmt("domain", domain), id);
}

VmmLine unread(std::string_view line, const std::string& domain, u32 id) {
  std::string text;
  for (const char c : line) text += printable(c) ? std::string(1, c) : escaped(c);
  return {LogLevel::warning, whose("vmm-output", domain, id) + " " + logfmt("text", text)};
}

}  // namespace

void LineReader::feed(std::span<const char> bytes, const Take& take) {
  for (const char c : bytes) {
    if (c == '\n') {
      finish(take);
    } else if (line_.size() < longest_line) {
      line_ += c;
    }
  }
}

void LineReader::finish(const Take& take) {
  if (!line_.empty()) take(line_);
  line_.clear();
}

VmmLine vmm_line(std::string_view line, const std::string& domain, u32 id) {
  const auto fields = fields_of(line);
  if (!fields) return unread(line, domain, id);
  const std::string* const event = find(*fields, "event");
  const std::string* const level = find(*fields, "level");
  const auto known = std::ranges::find_if(levels, [&](const auto& row) { return level && row.first == *level; });
  if (event == nullptr || known == std::end(levels)) return unread(line, domain, id);
  VmmLine told{known->second, whose(*event, domain, id)};
  for (const auto& [key, value] : *fields) {
    if (std::ranges::find(ours, key) == std::end(ours)) told.fields += fmt::format(" {}={}", key, value);
  }
  return told;
}

}  // namespace cloister::toolstack
