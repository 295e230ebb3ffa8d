// The table of keys. Names and meanings are xl.cfg(5)'s; epc, lehash and lewr follow the names that Xen's SGX series
// gave them.
#include "config/keys.hpp"

#include "config/cpuid_string.hpp"
#include "config/domain_name.hpp"
#include "config/epc_sections.hpp"
#include "config/launch_hash.hpp"
#include "config/values.hpp"
#include "hypervisor/specification.hpp"
#include "policy/descriptions.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

using Done = tl::expected<void, Diagnostic>;
using Failed = tl::unexpected<Diagnostic>;

constexpr u64 least_memory_mib = 16, most_mib = 1 << 20;
constexpr u64 most_shutdown_timeout = 86'400;
constexpr i64 most_timeoffset = 1'000'000'000;  // 31 years and more
constexpr u64 most_restarts = 1000, longest_window = 86400;

/// Stores what a reader returned.
template <class To, class From>
Done keep(To& to, const tl::expected<From, Diagnostic>& value) {
  if (!value) return Failed(value.error());
  to = static_cast<To>(*value);
  return {};
}

Done read_name(Draft& draft, const xl::Setting& setting) {
  const auto name = read_string(setting);
  if (!name) return Failed(name.error());
  if (!valid_name(*name)) return wrong(setting, std::string(name_rule));
  draft.config.name = *name;
  return {};
}

Done read_uuid_of(Draft& draft, const xl::Setting& setting) {
  const auto text = read_string(setting);
  if (!text) return Failed(text.error());
  const auto uuid = read_uuid(*text);
  if (!uuid) return wrong(setting, uuid.error());
  draft.config.uuid = *uuid;
  return {};
}

Done read_type(Draft&, const xl::Setting& setting) {
  constexpr std::string_view words[] = {"pvh"};
  if (auto word = read_word(setting, words); !word) return Failed(word.error());
  return {};
}

Done read_memory(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.memory_mib, read_integer(setting, least_memory_mib, most_mib, "MiB"));
}

Done read_vcpus(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.vcpus, read_integer(setting, 1, hypervisor::most_vcpus));
}

Done read_path(std::string& to, const xl::Setting& setting) {
  const auto path = read_string(setting);
  if (path && path->empty()) return wrong(setting, "the path of a file");
  return keep(to, path);
}

Done read_kernel_path(Draft& draft, const xl::Setting& setting) { return read_path(draft.config.kernel, setting); }
Done read_ramdisk_path(Draft& draft, const xl::Setting& setting) { return read_path(draft.config.ramdisk, setting); }
Done read_cmdline(Draft& draft, const xl::Setting& setting) { return keep(draft.cmdline, read_string(setting)); }
Done read_root(Draft& draft, const xl::Setting& setting) { return keep(draft.root, read_string(setting)); }
Done read_extra(Draft& draft, const xl::Setting& setting) { return keep(draft.extra, read_string(setting)); }

Done read_cpuid(Draft& draft, const xl::Setting& setting) {
  if (setting.value.kind == xl::Value::Kind::list) {
    return wrong(
        setting,
        "the string form, such as \"host,sgxlc=0\" (the list form, which sets registers of leaves by number, is "
        "not supported)");
  }
  auto overrides = read_cpuid_string(setting.value.text);
  if (!overrides) return Failed(Diagnostic{setting.value.at, "'cpuid': " + overrides.error()});
  draft.config.cpuid = std::move(*overrides);
  return {};
}

Done read_action(Action& to, const xl::Setting& setting) {
  const std::string_view words[] = {name_of(Action::destroy), name_of(Action::restart), name_of(Action::preserve)};
  return keep(to, read_word(setting, words));
}

Done read_on_poweroff(Draft& draft, const xl::Setting& s) { return read_action(draft.config.on_poweroff, s); }
Done read_on_reboot(Draft& draft, const xl::Setting& s) { return read_action(draft.config.on_reboot, s); }
Done read_on_crash(Draft& draft, const xl::Setting& s) { return read_action(draft.config.on_crash, s); }

Done read_restart_limit(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.restart_limit, read_integer(setting, 0, most_restarts));
}
Done read_restart_window(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.restart_window, read_integer(setting, 1, longest_window, "seconds"));
}

Done read_silicon(Draft& draft, const xl::Setting& setting) {
  const auto silicon = read_string(setting);
  if (!silicon) return Failed(silicon.error());
  const bool known = *silicon == "default" || names_a_dump(*silicon) || policy::find_description(*silicon) != nullptr;
  if (!known) {
    return Failed(Diagnostic{setting.value.at, "'silicon': " + policy::unknown_description(*silicon) +
                                                   "; the path of a dump has a '/' or a '.'"});
  }
  draft.config.silicon = *silicon;
  return {};
}

Done read_epc(Draft& draft, const xl::Setting& setting) {
  if (setting.value.kind == xl::Value::Kind::list) return keep(draft.config.epc, read_epc_sections(setting, most_mib));
  const auto mib = read_integer(setting, 0, most_mib, "MiB");
  if (mib && *mib != 0) draft.config.epc = {{.mib = *mib, .package = std::nullopt}};
  return mib ? Done() : Failed(mib.error());
}

Done read_lehash(Draft& draft, const xl::Setting& setting) {
  if (setting.value.kind != xl::Value::Kind::list) draft.config.lehash = read_launch_hash(setting.value.text);
  return draft.config.lehash ? Done() : wrong(setting, launch_hash_form);
}

Done read_lewr(Draft& draft, const xl::Setting& setting) { return keep(draft.config.lewr, read_boolean(setting)); }

Done read_sgx_provision(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.sgx_provision, read_boolean(setting));
}

Done read_localtime(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.localtime, read_boolean(setting));
}

Done read_rtc_timeoffset(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.rtc_timeoffset, read_signed(setting, -most_timeoffset, most_timeoffset, "seconds"));
}

Done read_shutdown_timeout(Draft& draft, const xl::Setting& setting) {
  return keep(draft.config.shutdown_timeout, read_integer(setting, 0, most_shutdown_timeout, "seconds"));
}

Done read_on_host_shutdown(Draft& draft, const xl::Setting& setting) {
  if (setting.value.kind == xl::Value::Kind::string && setting.value.text == "save") {
    return Failed(Diagnostic{setting.value.at,
                             "'on_host_shutdown': found \"save\", but this build cannot save domains; expected "
                             "\"shutdown\" or \"destroy\""});
  }
  const std::string_view words[] = {name_of(HostShutdown::shutdown), name_of(HostShutdown::destroy)};
  return keep(draft.config.on_host_shutdown, read_word(setting, words));
}

constexpr Key table[] = {
    {"name", "string", "required", "The domain's name: letters, digits and `-_.+`, 128 at most.", read_name},
    {"uuid", "string", "a new one", "The domain's UUID; one that persists keeps it.", read_uuid_of},
    {"type", "string", "\"pvh\"", "How the guest is started; only `\"pvh\"`.", read_type},
    {"memory", "integer", "512", "RAM in MiB, 16 to 1048576.", read_memory},
    {"vcpus", "integer", "1", "Virtual processors, 1 to 16.", read_vcpus},
    {"kernel", "string", "required", "Path of a bzImage or of an ELF kernel with a PVH entry.", read_kernel_path},
    {"ramdisk", "string", "none", "Path of an initramfs.", read_ramdisk_path},
    {"cmdline", "string", "\"\"", "The kernel's command line; `root` and `extra` are then ignored.", read_cmdline},
    {"root", "string", "none", "Starts the command line with `root=` and this value.", read_root},
    {"extra", "string", "none", "Ends the command line.", read_extra},
    {"cpuid", "string", "\"host\"", "CPU features forced on or off: `\"host,FEATURE=VALUE,…\"`.", read_cpuid},
    {"silicon", "string", "\"default\"",
     "What the processor offers: a description's name, or the path of a CPUID dump.", read_silicon},
    {"on_poweroff", "string", "\"destroy\"",
     "When the guest powers off or halts: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.", read_on_poweroff},
    {"on_reboot", "string", "\"restart\"",
     "When the guest resets itself: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.", read_on_reboot},
    {"on_crash", "string", "\"destroy\"", "When the guest crashes: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.",
     read_on_crash},
    {"shutdown_timeout", "integer", "60", "Seconds that the guest has to power itself off after SIGTERM, 0 to 86400.",
     read_shutdown_timeout},
    {"on_host_shutdown", "string", "\"shutdown\"",
     "When the host goes down: `\"shutdown\"`, by the power button, or `\"destroy\"`.", read_on_host_shutdown},
    {"restart_limit", "integer", "10",
     "How often the guest may so restart within `restart_window`, to 1000; 0: no limit.", read_restart_limit},
    {"restart_window", "integer", "300", "The seconds in which its restarts are counted, 1 to 86400.",
     read_restart_window},
    {"epc", "integer or list", "0", "Enclave page cache in MiB, 0 to 1048576, or its sections; 0: no SGX.", read_epc},
    {"lehash", "string", "Intel's", "Initial IA32_SGXLEPUBKEYHASH: 64 hexadecimal digits, first byte first.",
     read_lehash},
    {"lewr", "boolean", "1", "Whether the guest may write IA32_SGXLEPUBKEYHASH.", read_lewr},
    {"sgx_provision", "boolean", "0", "Whether enclaves may have the provisioning key.", read_sgx_provision},
    {"localtime", "boolean", "0", "Whether the guest's clock chip has the host's local time instead of UTC.",
     read_localtime},
    {"rtc_timeoffset", "integer", "0", "Seconds that the clock chip is ahead of that; a negative number in quotes.",
     read_rtc_timeoffset},
};

}  // namespace

std::span<const Key> keys() { return table; }

}  // namespace cloister::toolstack
