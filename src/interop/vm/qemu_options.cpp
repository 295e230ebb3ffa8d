#include "interop/vm/qemu_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "interop/vm/among.hpp"
#include "text/bounded_json.hpp"

namespace cloister::toolstack::vm {

namespace {

/// qemu-options.hx, the options without HAS_ARG, as far back as QEMU 2.
constexpr std::string_view switches[] = {"h",
                                         "help",
                                         "version",
                                         "S",
                                         "s",
                                         "nographic",
                                         "enable-kvm",
                                         "no-reboot",
                                         "no-shutdown",
                                         "nodefaults",
                                         "no-acpi",
                                         "no-hpet",
                                         "localtime",
                                         "daemonize",
                                         "no-user-config",
                                         "snapshot",
                                         "usb",
                                         "full-screen",
                                         "no-quit",
                                         "singlestep",
                                         "preconfig",
                                         "mem-prealloc",
                                         "only-migratable",
                                         "no-fd-bootchk",
                                         "sdl",
                                         "curses",
                                         "alt-grab",
                                         "ctrl-grab",
                                         "win2k-hack",
                                         "rtc-td-hack",
                                         "show-cursor",
                                         "portrait",
                                         "semihosting",
                                         "no-kvm",
                                         "no-frame",
                                         "nodefconfig",
                                         "no-kvm-irqchip",
                                         "no-kvm-pit-reinjection",
                                         "enable-sync-profile"};

struct Alias {
  std::string_view written, name;
};
constexpr Alias aliases[] = {{"M", "machine"}};

}  // namespace

bool is_qemu_switch(std::string_view name) { return among(name, switches); }

bool is_joined(std::string_view argument) {
  const std::size_t end = argument.find_first_of(" \t\n=");
  return end != argument.npos && is_qemu_option(argument.substr(0, end));
}

std::vector<QemuOption> qemu_options(const std::vector<std::string>& argv) {
  std::vector<QemuOption> options;
  for (std::size_t i = 0; i < argv.size(); ++i) {
    QemuOption option{.name = {}, .value = argv[i], .index = static_cast<u32>(i)};
    if (argv[i].size() > 1 && argv[i].front() == '-') {
      option.name = argv[i].substr(argv[i].starts_with("--") ? 2 : 1);
      if (const auto* alias = std::ranges::find(aliases, option.name, &Alias::written); alias != std::end(aliases)) {
        option.name = alias->name;
      }
      option.value.clear();
      if (!is_qemu_switch(option.name) && !is_joined(argv[i])) {
        option.complete = i + 1 < argv.size();
        if (option.complete) option.value = argv[++i];
      }
    }
    options.push_back(std::move(option));
  }
  return options;
}

std::vector<QemuField> qemu_fields(std::string_view text) {
  std::vector<QemuField> fields;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    QemuField field{.name = {}, .value = std::nullopt, .offset = static_cast<u32>(i)};
    for (; i < text.size(); ++i) {
      if (text[i] == ',') {
        // A doubled comma is one of a value, also of a first one without a name.
        if (text.substr(i, 2) != ",,") break;
        ++i;
      }
      if (text[i] == '=' && !field.value) {
        field.value.emplace();
      } else {
        (field.value ? *field.value : field.name) += text[i];
      }
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

std::optional<QemuAccelerator> qemu_accelerator(const std::vector<QemuOption>& options) {
  std::optional<QemuAccelerator> of_machine;
  for (const QemuOption& option : options) {
    const bool machine = option.name == "machine";
    if (option.name == "enable-kvm") of_machine = {"kvm", option.index};
    if (option.name == "no-kvm") of_machine = {"tcg", option.index};
    if (!machine && option.name != "accel") continue;
    for (const QemuField& field : qemu_fields(option.value)) {
      if (field.name != "accel" && (machine || field.value || field.offset > 0)) continue;
      const std::string names = field.value.value_or(field.name);
      QemuAccelerator found{names.substr(0, names.find(':')), option.index};
      if (!machine) return found;
      of_machine = std::move(found);
    }
  }
  return of_machine;
}

std::optional<u32> second_accelerator(const std::vector<QemuOption>& options, bool accel) {
  std::optional<u32> of_machine;
  for (const QemuOption& option : options) {
    accel |= option.name == "accel";
    if (option.name == "enable-kvm" || option.name == "no-kvm") of_machine = option.index;
    if (option.name != "machine") continue;
    const std::vector<QemuField> fields = qemu_fields(option.value);
    if (std::ranges::find(fields, "accel", &QemuField::name) != fields.end()) of_machine = option.index;
  }
  return accel ? of_machine : std::nullopt;
}

std::optional<std::vector<QemuField>> qemu_json_fields(std::string_view text) {
  using nlohmann::json;
  const auto object = parse_json(text);
  if (!object || !object->is_object()) return std::nullopt;
  const auto in_words = [](const json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return std::string(value.get<bool>() ? "on" : "off");
    return value.is_number_unsigned() ? fmt::to_string(value.get<u64>()) : std::string();
  };
  std::vector<QemuField> fields;
  for (const auto& [name, value] : object->items()) {
    if (value.is_array()) {
      for (const json& element : value) fields.push_back({name, in_words(element), 0});
    } else {
      fields.push_back({name, in_words(value), 0});
    }
  }
  return fields;
}

std::optional<bool> qemu_switch(std::string_view word) {
  constexpr std::string_view on[] = {"on", "yes", "true", "y"}, off[] = {"off", "no", "false", "n"};
  if (among(word, on)) return true;
  if (among(word, off)) return false;
  return std::nullopt;
}

std::string qemu_escaped(std::string_view value) {
  std::string text;
  for (const char c : value) text.append(c == ',' ? 2 : 1, c);
  return text;
}

}  // namespace cloister::toolstack::vm
