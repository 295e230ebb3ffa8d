#include "config/bootloader.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <vector>

#include "arch/try.hpp"
#include "config/disks.hpp"
#include "config/values.hpp"
#include "config/xl/quoted.hpp"
#include "text/shown.hpp"
#include "text/split.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

constexpr const char args_form[] = "\"--kernel=PATH\", \"--ramdisk=PATH\", \"--entry=NUMBER\" or \"--quiet\"";

bool is_image_path(std::string_view path) { return path.starts_with('/') && path.find('\0') == std::string_view::npos; }

bool read_option(std::string_view option, BootloaderOptions& options) {
  const std::string_view name = option.substr(0, option.find('='));
  const std::string_view value = name.size() == option.size() ? std::string_view() : option.substr(name.size() + 1);
  if (option == "--quiet" || option == "-q") return true;  // it says nothing anyway
  if (name == "--kernel" && is_image_path(value)) {
    options.kernel = value;
    return true;
  }
  if (name == "--ramdisk" && is_image_path(value)) {
    options.ramdisk = value;
    return true;
  }
  u32 number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (name != "--entry" || error != std::errc() || end != value.data() + value.size()) return false;
  options.entry = number;
  return true;
}

}  // namespace

tl::expected<void, Diagnostic> read_bootloader(const xl::Setting& setting) {
  const auto text = TRY(read_string(setting));
  if (text == "pygrub" || text.ends_with("/pygrub")) return {};
  return wrong(setting, "\"pygrub\"");
}

tl::expected<BootloaderOptions, Diagnostic> read_bootloader_args(const xl::Setting& setting) {
  BootloaderOptions options;
  const auto take = [&](std::string_view text, Position at) -> tl::expected<void, Diagnostic> {
    if (read_option(text, options)) return {};
    return Failed(
        Diagnostic{at, fmt::format("'bootloader_args': found {}, expected {}", shown(std::string(text)), args_form)});
  };
  if (setting.value.kind == xl::Value::Kind::list) {
    for (const xl::Value& value : setting.value.list) {
      if (value.kind == xl::Value::Kind::list)
        return Failed(Diagnostic{value.at, fmt::format("'bootloader_args': found a list, expected {}", args_form)});
      TRY(take(value.text, value.at));
    }
  } else {
    for (const std::string& word : text::split<std::string>(setting.value.text, ' ')) {
      if (!word.empty()) TRY(take(word, setting.value.at));
    }
  }
  if (!options.ramdisk.empty() && options.kernel.empty())
    return Failed(Diagnostic{setting.value.at, "'bootloader_args': found --ramdisk without --kernel"});
  if (options.entry && !options.kernel.empty())
    return Failed(Diagnostic{setting.value.at, "'bootloader_args': found --entry beside --kernel"});
  return options;
}

std::string bootloader_args_text(const BootloaderOptions& options) {
  std::vector<std::string> words;
  if (!options.kernel.empty()) words.push_back(xl::quoted("--kernel=" + options.kernel));
  if (!options.ramdisk.empty()) words.push_back(xl::quoted("--ramdisk=" + options.ramdisk));
  if (options.entry) words.push_back(xl::quoted(fmt::format("--entry={}", *options.entry)));
  return words.empty() ? std::string() : fmt::format("[{}]", fmt::join(words, ", "));
}

tl::expected<void, Diagnostic> check_bootloader(const DomainConfig& config) {
  const auto refuse = [&](const char* key, const std::string& message) {
    return Failed(Diagnostic{config.position_of(key), message});
  };
  if (!config.bootloader) {
    if (config.kernel.empty()) return Failed(Diagnostic{{}, "the key 'kernel' is missing"});
    if (config.where.contains("bootloader_args"))
      return refuse("bootloader_args", "'bootloader_args': found without 'bootloader'");
    return {};
  }
  for (const char* key : {"kernel", "ramdisk"}) {
    if (config.where.contains(key))
      return refuse(key, fmt::format("'{}': found beside 'bootloader', which takes it from the disk; expected one of "
                                     "them",
                                     key));
  }
  if (config.disks.empty()) return refuse("bootloader", "'bootloader': found without a disk, on which it would look");
  if (nbd_socket(config.disks.front().path))
    return refuse("bootloader", "'bootloader': found a first disk that another program serves, expected a file");
  if (!config.disks.front().backing.empty())
    return refuse("bootloader", "'bootloader': found a first disk with a backing file, expected one that is whole");
  return {};
}

}  // namespace cloister::toolstack
