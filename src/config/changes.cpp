// Texts are compared by the values that the table of keys (keys.hpp) writes for them, or, with an error in one, as xl's
// grammar has them (xl/parser.hpp).
#include "config/changes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "config/config.hpp"
#include "config/disks.hpp"
#include "config/domain_name.hpp"
#include "config/keys.hpp"
#include "config/xl/parser.hpp"
#include "config/xl/quoted.hpp"

namespace cloister::toolstack {

namespace {

bool same(const xl::Value& one, const xl::Value& other) {
  if (one.kind != other.kind || one.text != other.text || one.list.size() != other.list.size()) return false;
  for (std::size_t i = 0; i < one.list.size(); ++i) {
    if (!same(one.list[i], other.list[i])) return false;
  }
  return true;
}

using Values = std::map<std::string, xl::Value>;

Values values_of(std::string_view text) {
  Values values;
  const auto document = xl::parse(text);
  if (!document) return values;
  for (const xl::Setting& setting : document->settings) values.emplace(setting.name, setting.value);
  return values;
}

/// Where a position's byte is.
std::optional<std::size_t> offset_of(std::string_view text, Position at) {
  std::size_t line_start = 0;
  for (u32 line = 1; line < at.line; ++line) {
    const std::size_t end = text.find('\n', line_start);
    if (end == std::string_view::npos) return std::nullopt;
    line_start = end + 1;
  }
  const std::size_t offset = line_start + at.column - 1;
  return offset < text.size() ? std::optional(offset) : std::nullopt;
}

/// The keys that one of them sets and the other does not, or to another value, by name. A text that cannot be read sets
/// nothing.
std::vector<std::string> changed_settings(std::string_view one, std::string_view other) {
  const Values before = values_of(one), after = values_of(other);
  std::map<std::string, bool> changed;  // in order
  for (const auto& [name, value] : before) {
    const auto found = after.find(name);
    if (found == after.end() || !same(value, found->second)) changed[name] = true;
  }
  for (const auto& [name, value] : after) {
    if (!before.contains(name)) changed[name] = true;
  }
  std::vector<std::string> names;
  for (const auto& [name, is] : changed) names.push_back(name);
  return names;
}

/// With its paths as they are opened, and without what means nothing.
DomainConfig settled(DomainConfig config, std::string_view directory) {
  const auto place = [&](std::string& path) {
    if (!path.empty()) path = (std::filesystem::path(directory) / path).string();
  };
  place(config.kernel);
  place(config.ramdisk);
  for (DiskConfig& disk : config.disks) {
    if (!nbd_socket(disk.path) && !storage_target(disk.path)) place(disk.path);
  }
  if (names_a_dump(config.silicon)) place(config.silicon);
  if (!config.epc_is_paged()) config.epc_min_mib = 0;
  return config;
}

}  // namespace

std::vector<std::string> changed_keys(const PlacedText& one, const PlacedText& other) {
  std::vector<std::string> by_text = changed_settings(one.text, other.text);
  const auto before = read_config(one.text), after = read_config(other.text);
  if (!before || !after) return by_text;
  const DomainConfig was = settled(before->config, one.directory), is = settled(after->config, other.directory);
  std::set<std::string> names;
  for (const Key& key : keys()) {
    if (key.value.write(was) != key.value.write(is)) names.emplace(key.name);
  }
  // The command line has no key of its own that says `root` or `extra`.
  const bool by_itself = !names.contains("cmdline") || std::ranges::count(by_text, "cmdline") != 0;
  for (const char* part : {"root", "extra"}) {
    if (by_itself || std::ranges::count(by_text, part) == 0) continue;
    names.erase("cmdline");
    names.insert(part);
  }
  return {names.begin(), names.end()};
}

tl::expected<std::string, std::string> renamed(std::string_view text, const std::string& name) {
  const auto in_the_way = [](const std::string& what) {
    return tl::unexpected("the name in its text cannot be changed: " + what);
  };
  if (!valid_name(name)) return in_the_way("the new one is none");
  const auto document = xl::parse(text);
  if (!document) return in_the_way("the text cannot be read");
  const xl::Setting* const setting = document->find("name");
  if (setting == nullptr || setting->value.kind != xl::Value::Kind::string)
    return in_the_way("it is not set to a string");
  const auto start = offset_of(text, setting->value.at);
  const auto at_its_place = [&](const char* what) {
    return in_the_way(
        fmt::format("{}:{}: it {}; `cloister edit` can", setting->value.at.line, setting->value.at.column, what));
  };
  // A name has no escapes, nor needs them: between the quotes stands what it is.
  const std::string& before = setting->value.text;
  if (!start || text.substr(*start + 1, before.size()) != before || *start + 1 + before.size() >= text.size() ||
      text[*start + 1 + before.size()] != text[*start])
    return at_its_place("is put together of several values");
  std::string changed(text.substr(0, *start + 1));
  changed.append(name).append(text.substr(*start + 1 + before.size()));
  // Two settings of a name may stand in a text, and += may put one together.
  const auto again = xl::parse(changed);
  const std::vector<std::string> settings = changed_settings(text, changed);
  const bool only_name = settings.empty() ? before == name : settings == std::vector<std::string>{"name"};
  if (!again || !only_name || again->find("name")->value.text != name) return at_its_place("is not set in one place");
  return changed;
}

tl::expected<std::string, std::string> retargeted(std::string_view text,
                                                  const std::map<std::string, std::string>& targets) {
  const auto in_the_way = [](const std::string& what) {
    return tl::unexpected("the disks in its text cannot be changed: " + what);
  };
  const auto read = read_config(text);
  const auto document = xl::parse(text);
  if (!read || !document) return in_the_way("the text cannot be read");
  const xl::Setting* const setting = document->find("disk");
  if (setting == nullptr || setting->value.kind != xl::Value::Kind::list) return in_the_way("it is not set to a list");
  std::vector<DiskConfig> wanted = read->config.disks;
  // From the last one, so that the places of those before stay.
  std::string changed(text);
  for (auto element = setting->value.list.rbegin(); element != setting->value.list.rend(); ++element) {
    const auto disk = std::ranges::find(wanted, element->at, &DiskConfig::at);
    if (disk == wanted.end()) continue;
    const auto target = targets.find(disk->vdev);
    if (target == targets.end()) continue;
    disk->path = target->second;
    const auto start = offset_of(text, element->at);
    const std::size_t length = element->text.size();
    if (!start || text.substr(*start + 1, length) != element->text || *start + 1 + length >= text.size() ||
        text[*start + 1 + length] != text[*start])
      return in_the_way(fmt::format("{}:{}: {} has escapes, or is put together of several values", element->at.line,
                                    element->at.column, disk->vdev));
    changed.replace(*start, length + 2, xl::quoted(disk_text(*disk)));
  }
  const auto again = read_config(changed);
  const std::vector<std::string> settings = changed_settings(text, changed);
  const auto same = [](const DiskConfig& one, const DiskConfig& other) { return disk_text(one) == disk_text(other); };
  if (!again || !std::ranges::equal(again->config.disks, wanted, same) ||
      !(settings.empty() || settings == std::vector<std::string>{"disk"}))
    return in_the_way("they are not set in one place");
  return changed;
}

}  // namespace cloister::toolstack
