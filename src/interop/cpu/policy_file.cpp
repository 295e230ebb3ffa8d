// Policies as operators keep them: names on the command line or in a file, a baseline's JSON, or a domain in another
// tool's words. What is what shows by the first characters, as the formats' own documentation has them.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/config.hpp"
#include "host/whole_file.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/nova_conf.hpp"
#include "interop/vm/qemu_options.hpp"
#include "interop/vm/words.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

using policy::Wish;

namespace {

template <class T>
using Read = tl::expected<T, Diagnostic>;

enum class WishFormat : u8 { names, json, libvirt, nova, qemu, configuration };

/// Nothing but names, commas, blanks, and what is said of names.
bool only_names(std::string_view text) {
  const auto of_a_name = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("_.+-=, \t\r\n").find(c) != std::string_view::npos;
  };
  if (!std::ranges::all_of(text, of_a_name)) return false;
  for (std::size_t at = 0; (at = text.find('=', at)) != std::string_view::npos; ++at) {
    const std::string_view value = text.substr(at + 1);
    if (!value.starts_with("on") && !value.starts_with("off")) return false;
  }
  return true;
}

/// The first line that is neither blank nor a comment.
std::string_view first_line(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#' || line[first] == ';') continue;
    return line.substr(first);
  }
  return {};
}

WishFormat format_of(std::string_view text) {
  const std::string_view line = first_line(text);
  if (text.find('\0') != std::string_view::npos) return WishFormat::qemu;  // /proc/PID/cmdline
  if (line.starts_with('{')) return WishFormat::json;
  if (line.starts_with('<')) return WishFormat::libvirt;
  if (line.starts_with('[')) return WishFormat::nova;
  // "-sgx" takes a flag out; QEMU's option of that name is of patches, and has more than names behind it.
  const bool command = vm::is_command(text);
  if (only_names(text) && !(command && !line.starts_with("-sgx"))) return WishFormat::names;
  return command ? WishFormat::qemu : WishFormat::configuration;
}

// ------------------------------------------------------------------------------------------------ domains

/// "FILE:LINE:COLUMN"; QEMU's positions are the numbers of arguments.
std::string place(const std::string& name, WishFormat format, Position at) {
  if (at.line == 0) return name;
  if (format == WishFormat::qemu) return fmt::format("{}: argument {}", name, at.line);
  return fmt::format("{}:{}:{}", name, at.line, at.column);
}

void add_flag(Wish& wish, const std::string& flag) {
  if (std::ranges::find(wish.flags, flag) == wish.flags.end()) wish.flags.push_back(flag);
}

/// What says that a domain has another type than "kvm"; empty: nobody does, as of a part of QEMU's command line.
std::string said_without_kvm(WishFormat format, const std::vector<std::string>& words) {
  if (format == WishFormat::libvirt) return "type='qemu'";
  if (format == WishFormat::nova) return "another virt_type";
  const auto accelerator = vm::qemu_accelerator(vm::qemu_options(words));
  if (accelerator) return "accelerator " + shown(accelerator->name);
  return vm::qemu_of(words) ? "nothing of -accel kvm" : "";
}

/// What the domain needs of a host; `optional` features it can do without.
AskedPolicy policy_of(const vm::Vm& vm, const std::string& name, WishFormat format, const std::string& without_kvm) {
  AskedPolicy asked;
  Wish& wish = asked.wish;
  if (vm.cpu.mode == vm::CpuMode::custom) wish.model = vm.cpu.model;
  wish.vendor = vm.cpu.vendor;
  wish.strict = vm.cpu.strict;
  for (const vm::CpuFeature& feature : vm.cpu.features) {
    switch (feature.policy) {
      case vm::FeaturePolicy::require: add_flag(wish, feature.name); break;
      case vm::FeaturePolicy::forbid: wish.forbidden.push_back(feature.name); break;
      // Emulated, taken as it comes, or taken out: whatever the host has.
      case vm::FeaturePolicy::force:
      case vm::FeaturePolicy::optional:
      case vm::FeaturePolicy::disable: wish.without.push_back(feature.name); break;
    }
    asked.where.emplace(feature.name, place(name, format, feature.at));
  }
  for (const vm::Epc& epc : vm.epc) wish.epc_bytes += epc.kib << 10;
  if (!vm.epc.empty()) add_flag(wish, "sgx");
  if (vm.provision == true) add_flag(wish, "sgx-provisionkey");
  wish.launch = {.hash = vm.launch.hash, .writable = vm.launch.writable};
  const bool sgx = std::ranges::any_of(wish.flags, [](const std::string& flag) { return flag.starts_with("sgx"); });
  if (sgx && vm.type != "kvm") wish.without_kvm = without_kvm;
  return asked;
}

/// `virsh cpu-baseline` and `cloister cpu baseline` print a domain's <cpu> alone.
bool is_cpu_element(std::string_view text) {
  const std::string_view line = first_line(text);
  return line.starts_with("<cpu>") || line.starts_with("<cpu ");
}
constexpr std::string_view around_cpu[] = {"<domain type='kvm'><name>cpu</name><memory>1024</memory>", "</domain>"};

vm::Vm whole(vm::ReadVm&& read) { return std::move(read.vm); }

Read<vm::Vm> read_words(const std::vector<std::string>& argv) { return vm::from_command(argv).map(whole); }

/// Of any format but QEMU's.
Read<vm::Vm> read_domain(std::string_view text, WishFormat format, const vmx::Backend& silicon) {
  switch (format) {
    case WishFormat::libvirt: {
      if (!is_cpu_element(text)) return vm::from_libvirt(text).map(whole);
      auto read = vm::from_libvirt(fmt::format("{}{}{}", around_cpu[0], text, around_cpu[1])).map(whole);
      if (!read && read.error().at.line == 1) read.error().at.column -= around_cpu[0].size();
      return read;
    }
    case WishFormat::nova:
      if (!vm::has_section(text, "libvirt"))
        return tl::unexpected(*vm::no_configuration(
            text, "nova.conf with a section [libvirt], a configuration, libvirt's domain XML, or QEMU's command line"));
      return vm::read_nova_conf(text).map([](const vm::NovaCpu& nova) {
        vm::Vm vm;
        vm.cpu = vm::cpu_of(nova);
        if (nova.virt_type) vm.type = nova.virt_type->text;
        return vm;
      });
    default: break;
  }
  return read_config(text).and_then([&](const ReadConfig& read) { return vm::from_config(read.config, silicon); });
}

}  // namespace

tl::expected<AskedPolicy, std::string> read_policy(std::string_view bytes, const std::string& name,
                                                   const policy::CpuMap& map, const vmx::Backend& silicon) {
  const auto wrong = [&](const std::string& why) {
    return tl::unexpected(fmt::format("{}: {}", name, printable(why)));
  };
  const auto readable = vm::readable(bytes);
  if (!readable) return tl::unexpected(toolstack::format(name, readable.error()));
  const std::string_view text = *readable;
  AskedPolicy asked;
  const WishFormat format = format_of(text);
  if (format == WishFormat::names) {
    asked.wish = policy::read_wish(text, map);
  } else if (format == WishFormat::json) {
    const auto json = parse_object(text);
    if (!json) return wrong(json.error());
    auto wish = wish_of_json(*json);
    if (!wish) return wrong(wish.error());
    asked.wish = std::move(*wish);
  } else {
    std::vector<std::string> words;
    if (format == WishFormat::qemu) {
      auto read = vm::read_argv(text);
      if (!read) {
        // Where there are no words, none can be counted.
        const Diagnostic& error = read.error();
        return tl::unexpected(toolstack::format(name, {error.at, printable(error.message)}));
      }
      words = std::move(*read);
    }
    const auto domain = format == WishFormat::qemu ? read_words(words) : read_domain(text, format, silicon);
    if (!domain) {
      const Diagnostic& error = domain.error();
      return tl::unexpected(fmt::format("{}: {}", place(name, format, error.at), printable(error.message)));
    }
    asked = policy_of(*domain, name, format, said_without_kvm(format, words));
    if (const auto earlier = vm::earlier_starts(text)) {
      asked.note = toolstack::format(name, {earlier->at, "warning: " + earlier->message});
    }
  }
  const bool asks = !asked.wish.flags.empty() || !asked.wish.model.empty() || !asked.wish.forbidden.empty();
  if (!asks) return wrong("asks for no CPU flag and no CPU model");
  const std::size_t names = asked.wish.flags.size() + asked.wish.without.size() + asked.wish.forbidden.size();
  if (names > vm::most_features)
    return wrong(fmt::format("found {} names of CPU flags, expected {} at most", names, vm::most_features));
  return asked;
}

tl::expected<AskedPolicy, std::string> load_policy(const std::string& policy, const policy::CpuMap& map,
                                                   const vmx::Backend& silicon) {
  std::error_code error;
  if (!std::filesystem::exists(policy, error) || std::filesystem::is_directory(policy, error)) {
    if (only_names(policy)) return read_policy(policy, "the policy", map, silicon);
    return tl::unexpected(fmt::format("{}: found neither a file nor names of CPU flags", printable(policy)));
  }
  const auto bytes = read_within(policy, longest_text);
  if (!bytes) return tl::unexpected(fmt::format("{}: cannot read: {}", policy, bytes.error()));
  return read_policy({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, policy, map, silicon);
}

}  // namespace cloister::toolstack::cpu
