// A field that is left out has its default, and so has an empty one; what has none here is missing. xl takes a disk
// whose format is not said for a raw one, which is a guess: here it is to be said.
#include "config/disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "arch/try.hpp"
#include "config/domain_name.hpp"
#include "config/values.hpp"
#include "config/xl/quoted.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"
#include "text/trimmed.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;
using Done = tl::expected<void, Diagnostic>;

class DiskReader {
 public:
  static constexpr const char form[] =
      "\"TARGET,raw,VDEV,ACCESS\", or \"format=raw,vdev=VDEV,access=ACCESS,backing=FORMAT:FILE,target=TARGET\"";
  static constexpr const char formats[] = "\"raw\", \"qcow2\", \"vmdk\", \"vhdx\" or \"vdi\"";

  DiskReader(const xl::Setting& list, const xl::Value& value) : list_(list), value_(value) {}

  tl::expected<DiskConfig, Diagnostic> read() {
    if (value_.kind != xl::Value::Kind::string) return unexpected(form);
    TRY(split());
    DiskConfig disk{
        .path = text_[target].value_or(""), .format = said(format), .vdev = {}, .read_only = false, .at = value_.at};
    if (disk.path.empty()) return unexpected(fmt::format("a target: {}", form));
    TRY(check_target());
    TRY(check_format());
    disk.vdev = TRY(place());
    disk.read_only = TRY(is_read_only());
    TRY(check_backing(disk.format));
    disk.backing = backing_;
    return disk;
  }

 private:
  enum Field : std::size_t { target, format, vdev, access, fields };
  static constexpr std::array<std::string_view, fields> field_names{"target", "format", "vdev", "access"};
  static constexpr std::string_view backing_name = "backing";
  /// What xl has beside these.
  static constexpr std::string_view flags[] = {"cdrom", "direct-io-safe", "discard", "no-discard"};
  static constexpr std::string_view others[] = {"devtype", "backend",       "backendtype", "script",
                                                "colo",    "specification", "transport",   "trusted"};
  /// xl's former ways of saying format and kind before the target.
  static constexpr std::string_view prefixes[] = {
      "raw:", "qcow:", "qcow2:", "vhd:", "phy:", "file:", "tap:", "tap2:", "aio:"};

  Failed error(const std::string& message) const {
    return Failed(Diagnostic{value_.at, fmt::format("'{}': {}", list_.name, message)});
  }
  Failed unexpected(const std::string& expected) const {
    return error(fmt::format("found {}, expected {}", shown(value_), expected));
  }
  Failed of_field(Field field, const std::string& expected) const {
    return error(fmt::format("{}: found {}, expected {}", field_names[field], shown(said(field)), expected));
  }
  std::string said(Field field) const { return text_[field].value_or(""); }

  Done split() {
    std::string_view rest = value_.text;
    std::size_t next = 0;  // of the fields by their place
    while (true) {
      const std::string_view part = rest.substr(0, rest.find(','));
      const std::string_view word = trimmed(part);
      const std::size_t equals = word.find('=');
      if (equals != std::string_view::npos) {
        const std::string_view name = trimmed(word.substr(0, equals));
        const auto known = std::ranges::find(field_names, name);
        const auto field = static_cast<Field>(known - field_names.begin());
        if (field == target) return put(target, rest.substr(rest.find('=') + 1));
        if (name == backing_name) {
          TRY(put_backing(trimmed(word.substr(equals + 1))));
        } else if (known == field_names.end()) {
          return unknown(name);
        } else {
          TRY(put(field, trimmed(word.substr(equals + 1))));
        }
      } else if (std::ranges::count(flags, word) != 0) {
        return error(fmt::format("'{}' is not supported", word));
      } else if (next == fields) {
        return unexpected(fmt::format("four fields by their place at most: {}", form));
      } else {
        TRY(put(static_cast<Field>(next), word));
        ++next;
      }
      if (part.size() == rest.size()) return {};
      rest.remove_prefix(part.size() + 1);
    }
  }

  /// What is empty says nothing.
  Done put(Field field, std::string_view text) {
    if (text.empty()) return {};
    if (text_[field]) return unexpected(fmt::format("'{}' once", field_names[field]));
    text_[field] = std::string(text);
    return {};
  }

  /// Its format is said as that of the image is: whoever may write the one may have written the other.
  Done put_backing(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view its_format = text.substr(0, colon);
    if (colon == std::string_view::npos || colon + 1 == text.size() || (its_format != "raw" && its_format != "qcow2") ||
        text.find('\0') != std::string_view::npos)
      return error(
          fmt::format("{}: found {}, expected \"raw:PATH\" or \"qcow2:PATH\"", backing_name, shown(std::string(text))));
    if (backing_.size() == most_backing)
      return unexpected(fmt::format("{} of '{}' at most", most_backing, backing_name));
    backing_.push_back({.format = std::string(its_format), .path = std::string(text.substr(colon + 1))});
    return {};
  }

  /// Raw ones have none.
  Done check_backing(std::string_view of) const {
    for (const BackingConfig& one : backing_) {
      if (of != "qcow2")
        return error(fmt::format("{}: found '{}' beneath what is {}, expected a qcow2 image above each", backing_name,
                                 cut_path(one.path), of));
      of = one.format;
    }
    return {};
  }

  Failed unknown(std::string_view name) const {
    if (std::ranges::count(others, name) != 0) return error(fmt::format("'{}' is not supported", name));
    const auto near = text::nearest(name, field_names);
    return error(fmt::format("unknown field '{}'{}; a target with '=' or ',' in it is the rest behind 'target='",
                             cut(std::string(name)), near ? fmt::format(", did you mean '{}'?", *near) : ""));
  }

  Done check_target() const {
    for (const std::string_view prefix : prefixes) {
      if (said(target).starts_with(prefix))
        return of_field(target, fmt::format("a path without '{}'; 'format' says what is in it", prefix));
    }
    if (said(target).find('\0') != std::string::npos) return of_field(target, "a path");
    if (const auto socket = nbd_socket(said(target)); socket && !socket->starts_with('/'))
      return of_field(target, "\"nbd:unix:\" and an absolute path");
    if (const auto on = storage_target(said(target)); on && !is_storage_target(*on))
      return of_field(target,
                      "\"storage:NAME/PATH\", the name of a storage and a path below it, without \".\" and \"..\"");
    return {};
  }

  Done check_format() const {
    if (!text_[format]) return unexpected(fmt::format("a format, which is never guessed: {}", formats));
    if (std::ranges::count(disk_formats, said(format)) == 0) return of_field(format, formats);
    if (said(format) != "raw" && nbd_socket(said(target)))
      return of_field(format, "\"raw\": what serves the target knows its format");
    return {};
  }

  tl::expected<std::string, Diagnostic> place() const {
    constexpr const char places[] = "xvda to xvdp (or vda, sda, hda, which mean the same)";
    std::string name = said(vdev);
    const std::string_view kind = std::string_view(name).substr(0, name.empty() ? 0 : name.size() - 1);
    const bool known = kind == "xvd" || kind == "vd" || kind == "sd" || kind == "hd";
    if (!text_[vdev]) return unexpected(fmt::format("a vdev: {}", places));
    if (!known || disk_place(name) >= most_disks) return of_field(vdev, places);
    return name;
  }

  tl::expected<bool, Diagnostic> is_read_only() const {
    const std::string word = text_[access].value_or("rw");
    if (word == "r" || word == "ro") return true;
    if (word == "w" || word == "rw") return false;
    return of_field(access, "\"rw\" or \"ro\"");
  }

  const xl::Setting& list_;
  const xl::Value& value_;
  std::array<std::optional<std::string>, fields> text_;
  std::vector<BackingConfig> backing_;
};

}  // namespace

std::optional<std::string> nbd_socket(const std::string& target) {
  constexpr std::string_view prefix = "nbd:unix:";
  if (!target.starts_with(prefix)) return std::nullopt;
  return target.substr(prefix.size());
}

std::optional<StorageTarget> storage_target(const std::string& target) {
  constexpr std::string_view prefix = "storage:";
  if (!target.starts_with(prefix)) return std::nullopt;
  const std::string rest = target.substr(prefix.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  return StorageTarget{rest.substr(0, slash), rest.substr(std::min(slash + 1, rest.size()))};
}

std::string to_text(const StorageTarget& target) { return "storage:" + target.name + "/" + target.path; }

bool is_storage_target(const StorageTarget& target) {
  if (!valid_name(target.name) || target.path.find('\0') != std::string::npos) return false;
  std::string_view rest = target.path;
  while (true) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    rest.remove_prefix(slash + 1);
  }
}

std::size_t disk_place(std::string_view vdev) { return static_cast<std::size_t>(vdev.back() - 'a'); }

tl::expected<std::vector<DiskConfig>, Diagnostic> read_disks(const xl::Setting& setting) {
  if (setting.value.kind != xl::Value::Kind::list)
    return wrong(setting, fmt::format("a list of strings {}", DiskReader::form));
  std::vector<DiskConfig> disks;
  for (const xl::Value& value : setting.value.list) {
    auto disk = TRY(DiskReader(setting, value).read());
    const auto same = [&](const DiskConfig& other) { return disk_place(other.vdev) == disk_place(disk.vdev); };
    if (const auto other = std::ranges::find_if(disks, same); other != disks.end())
      return Failed(Diagnostic{value.at, fmt::format("'disk': vdev: found '{}', but there is '{}' at {}:{}", disk.vdev,
                                                     other->vdev, other->at.line, other->at.column)});
    disks.push_back(std::move(disk));
  }
  std::ranges::sort(disks, {}, [](const DiskConfig& disk) { return disk_place(disk.vdev); });
  return disks;
}

std::string disk_text(const DiskConfig& disk) {
  std::string backing;
  for (const BackingConfig& one : disk.backing) backing += fmt::format("backing={}:{},", one.format, one.path);
  return fmt::format("format={},vdev={},access={},{}target={}", disk.format, disk.vdev, disk.read_only ? "ro" : "rw",
                     backing, disk.path);
}

std::string disks_text(const std::vector<DiskConfig>& disks) {
  std::vector<std::string> texts;
  for (const DiskConfig& disk : disks) texts.push_back(xl::quoted(disk_text(disk)));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

}  // namespace cloister::toolstack
