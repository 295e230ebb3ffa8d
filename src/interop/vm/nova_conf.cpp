// Lines become settings, settings become lists.
#include "interop/vm/nova_conf.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "interop/vm/words.hpp"
#include "policy/flags.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr std::string_view blanks = " \t\r\f\v";

/// The text without blanks around it; `column` moves to where it begins.
std::string_view trimmed(std::string_view text, u32& column) {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == text.npos) return {};
  column += static_cast<u32>(first);
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string small(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
  return result;
}

/// Quotes around the first line of a value are not part of it.
void strip_quotes(Word& value) {
  std::string& text = value.text;
  if (text.empty() || text.front() != text.back() || (text.front() != '"' && text.front() != '\'')) return;
  text = text.size() < 2 ? "" : text.substr(1, text.size() - 2);
  ++value.at.column;
}

/// The parser's state between two lines.
class OsloReader {
 public:
  tl::expected<void, Diagnostic> read_line(std::string_view line, u32 number) {
    u32 column = 1;
    const std::string_view content = trimmed(line, column);
    const Position at{number, column};
    if (content.empty()) {
      open_ = false;
      return {};
    }
    if (line.front() == ' ' || line.front() == '\t') {
      if (!open_) return failed(at, "found a line that begins with a blank, and no setting before it to go on with");
      settings_.back().lines.push_back({std::string(content), at});
      return {};
    }
    open_ = false;
    if (content.front() == '#' || content.front() == ';') return {};
    if (content.front() == '[') return read_section(content, at);
    return read_setting(content, at);
  }

  std::vector<NovaSetting> take() { return std::move(settings_); }

 private:
  static tl::unexpected<Diagnostic> failed(Position at, std::string message) {
    return tl::unexpected(Diagnostic{at, std::move(message)});
  }

  tl::expected<void, Diagnostic> read_section(std::string_view content, Position at) {
    if (!content.ends_with(']') || content.size() < 3)
      return failed(at, "found " + shown(content) + ", expected [SECTION]");
    const std::string_view name = content.substr(1, content.size() - 2);
    section_ = name == "DEFAULT" ? std::string(name) : small(name);
    return {};
  }

  tl::expected<void, Diagnostic> read_setting(std::string_view content, Position at) {
    const std::size_t sign = content.find_first_of("=:");
    u32 column = at.column;
    const std::string_view key = trimmed(content.substr(0, std::min(sign, content.size())), column);
    if (sign == content.npos || key.empty()) return failed(at, "found " + shown(content) + ", expected KEY = VALUE");
    if (section_.empty()) return failed(at, "found " + shown(key) + " before the first [SECTION]");
    u32 value_column = at.column + static_cast<u32>(sign) + 1;
    const std::string_view value = trimmed(content.substr(sign + 1), value_column);
    Word first{std::string(value), {at.line, value_column}};
    strip_quotes(first);
    settings_.push_back({section_, std::string(key), at, {std::move(first)}});
    open_ = true;
    return {};
  }

  std::vector<NovaSetting> settings_;
  std::string section_;
  bool open_ = false;  ///< the last line was of a setting, which may go on
};

/// oslo.config's list: items between commas, blanks around them. The end of a line is a blank and no comma, so that an
/// item can go on in the next line.
std::vector<Word> items_of(const NovaSetting& setting) {
  std::vector<Word> items;
  Word item;
  const auto end_item = [&] {
    item.text.erase(item.text.find_last_not_of(" \t\n") + 1);
    if (!item.text.empty()) items.push_back(item);
    item = {};
  };
  for (const Word& line : setting.lines) {
    for (u32 i = 0; i < line.text.size(); ++i) {
      const char c = line.text[i];
      if (c == ',') {
        end_item();
      } else if (!item.text.empty() || blanks.find(c) == blanks.npos) {
        if (item.text.empty()) item.at = {line.at.line, line.at.column + i};
        item.text += c;
      }
    }
    if (!item.text.empty()) item.text += '\n';
  }
  end_item();
  return items;
}

}  // namespace

tl::expected<std::vector<NovaSetting>, Diagnostic> read_oslo(std::string_view text) {
  OsloReader reader;
  for (u32 number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (const auto read = reader.read_line(text.substr(0, end), number); !read) return tl::unexpected(read.error());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return reader.take();
}

tl::expected<NovaCpu, Diagnostic> read_nova_conf(std::string_view text) {
  const auto settings = TRY(read_oslo(text));
  const auto last = [&](std::string_view key) -> const NovaSetting* {
    const auto found = std::find_if(settings.rbegin(), settings.rend(),
                                    [&](const NovaSetting& s) { return s.section == "libvirt" && s.key == key; });
    return found == settings.rend() ? nullptr : &*found;
  };
  NovaCpu cpu;
  for (const NovaSetting& setting : settings)
    if (setting.key.starts_with("sgx_")) cpu.sgx_keys.push_back({setting.key, setting.at});
  if (const auto* type = last("virt_type")) cpu.virt_type = type->lines.front();
  if (const auto* mode = last("cpu_mode")) cpu.mode = mode->lines.front();
  const NovaSetting* old_models = last("cpu_model");
  if (const auto* models = last("cpu_models")) {
    cpu.models = items_of(*models);
  } else if (old_models != nullptr) {
    cpu.models = items_of(*old_models);
  }
  if (old_models != nullptr) cpu.old_models = old_models->at;
  if (const auto* flags = last("cpu_model_extra_flags")) {
    for (const Word& item : items_of(*flags)) {
      const bool sign = item.text.front() == '-' || item.text.front() == '+';
      cpu.flags.push_back({small(item.text.substr(sign ? 1 : 0)), item.text.front() != '-', item.at});
    }
    cpu.flags_begin = flags->at;
    if (cpu.flags.size() > most_features)
      return tl::unexpected(Diagnostic{
          flags->at,
          fmt::format("'cpu_model_extra_flags' has {} flags, expected {} at most", cpu.flags.size(), most_features)});
  }
  return cpu;
}

Cpu cpu_of(const NovaCpu& nova) {
  Cpu cpu;
  const std::string mode = nova.mode ? nova.mode->text : "host-model";
  if (mode == "custom") cpu.mode = CpuMode::custom;
  if (mode == "host-model") cpu.mode = CpuMode::host_model;
  if (mode == "host-passthrough") cpu.mode = CpuMode::host_passthrough;
  if (cpu.mode == CpuMode::custom && !nova.models.empty()) cpu.model = nova.models.front().text;
  if (cpu.mode == CpuMode::unspecified) return cpu;  // Nova gives such a guest no flags either
  for (const NovaFlag& flag : nova.flags) {
    const policy::Feature* feature = policy::find_spelling(flag.name, policy::Tool::libvirt);
    CpuFeature said{.name = feature == nullptr ? flag.name : std::string(feature->name),
                    .policy = flag.on ? FeaturePolicy::require : FeaturePolicy::disable,
                    .at = flag.at};
    std::erase_if(cpu.features, [&](const CpuFeature& earlier) { return earlier.name == said.name; });
    cpu.features.push_back(std::move(said));
  }
  return cpu;
}

}  // namespace cloister::toolstack::vm
