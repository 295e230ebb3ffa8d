// The table of keys. Names and meanings are xl.cfg(5)'s; epc, lehash and lewr follow the names that Xen's SGX series
// gave them.
#include "config/keys.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "config/bootloader.hpp"
#include "config/cpu_flags.hpp"
#include "config/cpu_list.hpp"
#include "config/cpuid_list.hpp"
#include "config/cpuid_string.hpp"
#include "config/disks.hpp"
#include "config/domain_name.hpp"
#include "config/epc_sections.hpp"
#include "config/interfaces.hpp"
#include "config/launch_hash.hpp"
#include "config/values.hpp"
#include "config/vsock.hpp"
#include "config/xl/quoted.hpp"
#include "hypervisor/specification.hpp"
#include "policy/descriptions.hpp"
#include "policy/libvirt_models.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

using Done = tl::expected<void, Diagnostic>;
using Failed = tl::unexpected<Diagnostic>;
using Text = std::optional<std::string>;

static_assert(limits::most_vcpus == hypervisor::most_vcpus);

constexpr u64 most_shutdown_timeout = 86'400, most_restarts = 1000, longest_window = 86'400;
constexpr const char mib[] = "MiB", seconds[] = "seconds", count[] = "";

/// Stores what a reader returned.
template <class To, class From>
Done keep(To& to, const tl::expected<From, Diagnostic>& value) {
  if (!value) return Failed(value.error());
  to = static_cast<To>(*value);
  return {};
}

// ------------------------------------------------------------------------------------------------ forms of values

template <auto member, u64 least, u64 most, const char* unit>
constexpr Form integer{
    [](Draft& draft, const xl::Setting& s) { return keep(draft.config.*member, read_integer(s, least, most, unit)); },
    [](const DomainConfig& config) -> Text { return fmt::to_string(config.*member); }};

template <auto member>
constexpr Form boolean{
    [](Draft& draft, const xl::Setting& setting) { return keep(draft.config.*member, read_boolean(setting)); },
    [](const DomainConfig& config) -> Text { return config.*member ? "1" : "0"; }};

template <auto member>
constexpr Form path{[](Draft& draft, const xl::Setting& setting) {
                      const auto text = read_string(setting);
                      if (text && text->empty()) return Done(wrong(setting, "the path of a file"));
                      return keep(draft.config.*member, text);
                    },
                    [](const DomainConfig& config) {
                      const std::string& text = config.*member;
                      return text.empty() ? std::nullopt : Text(xl::quoted(text));
                    }};

template <auto member>
constexpr Form action{
    [](Draft& draft, const xl::Setting& setting) {
      const std::string_view words[] = {name_of(Action::destroy), name_of(Action::restart), name_of(Action::preserve)};
      return keep(draft.config.*member, read_word(setting, words));
    },
    [](const DomainConfig& config) -> Text { return xl::quoted(name_of(config.*member)); }};

/// Becomes a part of `cmdline`, and is written there.
template <auto member>
constexpr Form part_of_cmdline{
    [](Draft& draft, const xl::Setting& setting) { return keep(draft.*member, read_string(setting)); },
    [](const DomainConfig&) -> Text { return std::nullopt; }};

constexpr Form name{
    [](Draft& draft, const xl::Setting& setting) {
      const auto text = read_string(setting);
      if (text && !valid_name(*text)) return Done(wrong(setting, std::string(name_rule)));
      return keep(draft.config.name, text);
    },
    [](const DomainConfig& config) { return config.name.empty() ? std::nullopt : Text(xl::quoted(config.name)); }};

constexpr Form type{[](Draft&, const xl::Setting& setting) {
                      constexpr std::string_view words[] = {"pvh"};
                      const auto word = read_word(setting, words);
                      return word ? Done() : Failed(word.error());
                    },
                    [](const DomainConfig&) -> Text { return xl::quoted("pvh"); }};

constexpr Form cmdline{[](Draft& draft, const xl::Setting& s) { return keep(draft.cmdline, read_string(s)); },
                       [](const DomainConfig& config) -> Text { return xl::quoted(config.cmdline); }};

constexpr Form bootloader{
    [](Draft& draft, const xl::Setting& setting) {
      draft.config.bootloader = true;
      return read_bootloader(setting);
    },
    [](const DomainConfig& config) { return config.bootloader ? Text(xl::quoted("pygrub")) : std::nullopt; }};

constexpr Form bootloader_args{[](Draft& draft, const xl::Setting& setting) {
                                 return keep(draft.config.bootloader_options, read_bootloader_args(setting));
                               },
                               [](const DomainConfig& config) {
                                 const std::string text = bootloader_args_text(config.bootloader_options);
                                 return text.empty() ? std::nullopt : Text(text);
                               }};

constexpr Form disk{
    [](Draft& draft, const xl::Setting& setting) { return keep(draft.config.disks, read_disks(setting)); },
    [](const DomainConfig& config) { return config.disks.empty() ? std::nullopt : Text(disks_text(config.disks)); }};

constexpr Form vif{
    [](Draft& draft, const xl::Setting& setting) { return keep(draft.config.interfaces, read_interfaces(setting)); },
    [](const DomainConfig& config) {
      return config.interfaces.empty() ? std::nullopt : Text(interfaces_text(config.interfaces));
    }};

constexpr Form vsock{
    [](Draft& draft, const xl::Setting& setting) { return keep(draft.config.vsock, read_vsock(setting)); },
    [](const DomainConfig& config) { return config.vsock ? Text(vsock_text(*config.vsock)) : std::nullopt; }};

Done read_cpuid(Draft& draft, const xl::Setting& setting) {
  if (setting.value.kind == xl::Value::Kind::list) {
    for (const xl::Value& element : setting.value.list) {
      const auto said = read_cpuid_registers(element.text);
      if (!said) return Failed(Diagnostic{element.at, "'cpuid': " + said.error()});
      for (const policy::CpuidOverride& change : *said) {
        std::erase_if(draft.config.cpuid, [&](const auto& earlier) { return earlier.feature == change.feature; });
        draft.config.cpuid.push_back(change);
      }
    }
    return {};
  }
  auto overrides = read_cpuid_string(setting.value.text);
  if (!overrides) return Failed(Diagnostic{setting.value.at, "'cpuid': " + overrides.error()});
  draft.config.cpuid = std::move(*overrides);
  return {};
}

Done read_silicon(Draft& draft, const xl::Setting& setting) {
  const auto text = TRY(read_string(setting));
  const bool known = text == "default" || names_a_dump(text) || policy::find_description(text) != nullptr ||
                     policy::find_libvirt_model(text) != nullptr;
  if (!known) {
    return Failed(
        Diagnostic{setting.value.at, "'silicon': " + policy::unknown_description(text, policy::libvirt_model_names()) +
                                         "; a libvirt model of Intel's, as Skylake-Client-IBRS; the path "
                                         "of a dump has a '/' or a '.'"});
  }
  draft.config.silicon = text;
  return {};
}

Done read_flags(Draft& draft, const xl::Setting& setting) {
  const auto keep_flags = [&](const xl::Value& value) -> Done {
    if (value.kind != xl::Value::Kind::string)
      return Failed(Diagnostic{value.at, "'cpu_flags': found " + shown(value) + ", expected names of CPU features"});
    const auto flags = read_cpu_flags(value.text);
    if (!flags) return Failed(Diagnostic{value.at, "'cpu_flags': " + flags.error()});
    for (const policy::CpuidOverride& flag : *flags) put_cpu_flag(draft.config.cpu_flags, flag);
    return {};
  };
  if (setting.value.kind != xl::Value::Kind::list) return keep_flags(setting.value);
  for (const xl::Value& element : setting.value.list) {
    TRY(keep_flags(element));
  }
  return {};
}

constexpr Form cpuid{read_cpuid,
                     [](const DomainConfig& config) -> Text { return xl::quoted(cpuid_string(config.cpuid)); }};

constexpr Form silicon{read_silicon, [](const DomainConfig& config) -> Text { return xl::quoted(config.silicon); }};

constexpr Form cpu_flags{
    read_flags, [](const DomainConfig& config) -> Text { return xl::quoted(cpu_flags_text(config.cpu_flags)); }};

constexpr Form epc{[](Draft& draft, const xl::Setting& setting) {
                     if (setting.value.kind == xl::Value::Kind::list)
                       return keep(draft.config.epc, read_epc_sections(setting, limits::most_mib));
                     const auto size = read_integer(setting, 0, limits::most_mib, mib);
                     if (size && *size != 0) draft.config.epc = {{.mib = *size, .package = std::nullopt}};
                     return size ? Done() : Failed(size.error());
                   },
                   [](const DomainConfig& config) -> Text { return epc_sections_text(config.epc); }};

constexpr Form epc_min{[](Draft& draft, const xl::Setting& setting) {
                         return keep(draft.config.epc_min_mib, read_integer(setting, 1, limits::most_mib, mib));
                       },
                       [](const DomainConfig& config) {
                         return config.epc_min_mib == 0 ? std::nullopt : Text(fmt::to_string(config.epc_min_mib));
                       }};

Done read_cpus(Draft& draft, const xl::Setting& setting) {
  const auto keep_list = [&](CpuList& to, const xl::Value& value) -> Done {
    auto list = value.kind == xl::Value::Kind::list ? tl::expected<CpuList, std::string>(tl::unexpect, "a string")
                                                    : read_cpu_list(value.text);
    if (!list)
      return Failed(Diagnostic{value.at, fmt::format("'cpus': found {}, expected {}", shown(value), list.error())});
    to = std::move(*list);
    return {};
  };
  CpuPlaces& places = draft.config.cpus;
  if (setting.value.kind != xl::Value::Kind::list) return keep_list(places.all, setting.value);
  for (const xl::Value& value : setting.value.list) {
    if (places.of_vcpu.size() == limits::most_vcpus)
      return Failed(Diagnostic{value.at, fmt::format("'cpus': found more than {} elements", limits::most_vcpus)});
    TRY(keep_list(places.of_vcpu.emplace_back(), value));
  }
  return {};
}

constexpr Form cpus{read_cpus, [](const DomainConfig& config) -> Text {
                      if (config.cpus.of_vcpu.empty()) return xl::quoted(to_text(config.cpus.all));
                      std::vector<std::string> lists;
                      for (const CpuList& list : config.cpus.of_vcpu) lists.push_back(xl::quoted(to_text(list)));
                      return fmt::format("[{}]", fmt::join(lists, ", "));
                    }};

constexpr Form epc_paging{[](Draft& draft, const xl::Setting& setting) {
                            const std::string_view words[] = {name_of(EpcPaging::automatic), name_of(EpcPaging::trap),
                                                              name_of(EpcPaging::oss)};
                            return keep(draft.config.epc_paging, read_word(setting, words));
                          },
                          [](const DomainConfig& config) -> Text { return xl::quoted(name_of(config.epc_paging)); }};

constexpr Form engine{[](Draft& draft, const xl::Setting& setting) {
                        return keep(draft.config.engine, read_word(setting, engine_words));
                      },
                      [](const DomainConfig& config) -> Text { return xl::quoted(name_of(config.engine)); }};

constexpr Form lehash{[](Draft& draft, const xl::Setting& setting) {
                        if (setting.value.kind != xl::Value::Kind::list)
                          draft.config.lehash = read_launch_hash(setting.value.text);
                        return draft.config.lehash ? Done() : wrong(setting, launch_hash_form);
                      },
                      [](const DomainConfig& config) {
                        return config.lehash ? Text(xl::quoted(launch_hash_text(*config.lehash))) : std::nullopt;
                      }};

Done read_platform_of(Draft& draft, const xl::Setting& setting) {
  const auto text = TRY(read_string(setting));
  auto platform = read_sgx_platform(text);
  if (!platform) return wrong(setting, platform.error());
  draft.config.sgx_platform = std::move(*platform);
  return {};
}

constexpr Form sgx_platform{read_platform_of, [](const DomainConfig& config) {
                              return config.sgx_platform ? Text(xl::quoted(to_text(*config.sgx_platform)))
                                                         : std::nullopt;
                            }};

/// The lexer takes no sign outside quotes.
constexpr Form rtc_timeoffset{[](Draft& draft, const xl::Setting& setting) {
                                return keep(draft.config.rtc_timeoffset, read_signed(setting, -limits::most_timeoffset,
                                                                                     limits::most_timeoffset, seconds));
                              },
                              [](const DomainConfig& config) -> Text {
                                const std::string number = fmt::to_string(config.rtc_timeoffset);
                                return config.rtc_timeoffset < 0 ? xl::quoted(number) : number;
                              }};

Done read_uuid_of(Draft& draft, const xl::Setting& setting) {
  const auto text = TRY(read_string(setting));
  const auto uuid = read_uuid(text);
  if (!uuid) return wrong(setting, uuid.error());
  draft.config.uuid = *uuid;
  return {};
}

constexpr Form uuid{read_uuid_of, [](const DomainConfig& config) {
                      return config.uuid.empty() ? std::nullopt : Text(xl::quoted(config.uuid));
                    }};

Done read_on_host_shutdown(Draft& draft, const xl::Setting& setting) {
  const std::string_view words[] = {name_of(HostShutdown::shutdown), name_of(HostShutdown::destroy),
                                    name_of(HostShutdown::save)};
  return keep(draft.config.on_host_shutdown, read_word(setting, words));
}

constexpr Form on_host_shutdown{read_on_host_shutdown, [](const DomainConfig& config) -> Text {
                                  return xl::quoted(name_of(config.on_host_shutdown));
                                }};

// ------------------------------------------------------------------------------------------------ the table

using Config = DomainConfig;
using namespace limits;

constexpr Key table[] = {
    {"name", "string", "required", "The domain's name: letters, digits and `-_.+`, 128 at most.", name},
    {"uuid", "string", "its own", "The domain's UUID, by which it has its keys; one that persists keeps it.", uuid},
    {"type", "string", "\"pvh\"", "How the guest is started; only `\"pvh\"`.", type},
    {"memory", "integer", "512", "RAM in MiB, 16 to 1048576.",
     integer<&Config::memory_mib, least_memory_mib, most_mib, mib>},
    {"vcpus", "integer", "1", "Virtual processors, 1 to 16.", integer<&Config::vcpus, 1, most_vcpus, count>},
    {"cpus", "string or list", "\"all\"",
     "The host's processors that these run on: of all, or a list with one for each.", cpus},
    {"kernel", "string", "none", "Path of a bzImage or of an ELF kernel with a PVH entry; or there is a `bootloader`.",
     path<&Config::kernel>},
    {"ramdisk", "string", "none", "Path of an initramfs.", path<&Config::ramdisk>},
    {"bootloader", "string", "none", "`\"pygrub\"`: kernel and ramdisk are found on the first disk.", bootloader},
    {"bootloader_args", "list or string", "none",
     "What it is told: `\"--kernel=PATH\"`, `\"--ramdisk=PATH\"`, `\"--entry=NUMBER\"`.", bootloader_args},
    {"cmdline", "string", "\"\"", "The kernel's command line; `root` and `extra` are then ignored.", cmdline},
    {"root", "string", "none", "Starts the command line with `root=` and this value.", part_of_cmdline<&Draft::root>},
    {"extra", "string", "none", "Ends the command line.", part_of_cmdline<&Draft::extra>},
    {"disk", "list", "none", "Disks: for each a string `\"TARGET,raw,VDEV,ACCESS\"`.", disk},
    {"vif", "list", "none",
     "Network interfaces: for each a string `\"type=user,mac=MAC,hostfwd=FORWARD,host=allow\"` or "
     "`\"bridge=NAME,mac=MAC,vifname=NAME,queues=N\"`.",
     vif},
    {"virtio_console", "boolean", "0", "Whether the guest has a virtio console, hvc0, beside its serial port.",
     boolean<&Config::virtio_console>},
    {"rng", "boolean", "0", "Whether the guest has a virtio source of random bytes.", boolean<&Config::rng>},
    {"vsock", "integer or string", "none",
     "Sockets between guest and host: the guest's CID, `\"auto\"`, or `\"cid=CID,path=PATH\"`.", vsock},
    {"epc", "integer or list", "0", "Enclave page cache in MiB, 0 to 1048576, or its sections; 0: no SGX.", epc},
    {"epc_min", "integer", "`epc`", "The machine's EPC that the domain has, in MiB; with less than `epc` it is paged.",
     epc_min},
    {"epc_paging", "string", "\"auto\"",
     "How EPC is paged: `\"oss\"`, `\"trap\"`, or `\"auto\"`: by OSS where the processor has it.", epc_paging},
    {"epc_weight", "integer", "100",
     "How much of what is left of EPC the domain has against others that are paged: 1 to 10000.",
     integer<&Config::epc_weight, 1, limits::heaviest_epc, count>},
    {"silicon", "string", "\"default\"",
     "What the processor offers: a description's name, a libvirt model's, or the path of a CPUID dump.", silicon},
    {"cpu_flags", "string or list", "\"\"",
     "Beside a libvirt model as `silicon`: features that it has too, or, with a `-`, has not.", cpu_flags},
    {"engine", "string", "\"auto\"",
     "What runs the guest's code: `\"compiler\"`, `\"interpreter\"`, or `\"auto\"`: as the machine says.", engine},
    {"cpuid", "string or list", "\"host\"", "CPU features forced on or off: `\"host,FEATURE=VALUE,…\"`, or registers.",
     cpuid},
    {"lehash", "string", "Intel's", "Initial IA32_SGXLEPUBKEYHASH: 64 hexadecimal digits, first byte first.", lehash},
    {"lewr", "boolean", "1", "Whether the guest may write IA32_SGXLEPUBKEYHASH.", boolean<&Config::lewr>},
    {"sgx_provision", "boolean", "0", "Whether enclaves may have the provisioning key.",
     boolean<&Config::sgx_provision>},
    {"sgx_platform", "string", "\"private\"",
     "Whose keys enclaves get: the domain's own (`\"private\"`), those of `\"group:NAME\"` or of the `\"machine\"`.",
     sgx_platform},
    {"localtime", "boolean", "0", "Whether the guest's clock chip has the host's local time instead of UTC.",
     boolean<&Config::localtime>},
    {"rtc_timeoffset", "integer", "0", "Seconds that the clock chip is ahead of that; a negative number in quotes.",
     rtc_timeoffset},
    {"on_poweroff", "string", "\"destroy\"",
     "When the guest powers off or halts: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.",
     action<&Config::on_poweroff>},
    {"on_reboot", "string", "\"restart\"",
     "When the guest resets itself: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.", action<&Config::on_reboot>},
    {"on_crash", "string", "\"destroy\"", "When the guest crashes: `\"destroy\"`, `\"restart\"` or `\"preserve\"`.",
     action<&Config::on_crash>},
    {"shutdown_timeout", "integer", "60", "Seconds that the guest has to power itself off after SIGTERM, 0 to 86400.",
     integer<&Config::shutdown_timeout, 0, most_shutdown_timeout, seconds>},
    {"on_host_shutdown", "string", "\"shutdown\"",
     "When the host goes down: `\"shutdown\"`, by the power button, `\"destroy\"`, or `\"save\"`.", on_host_shutdown},
    {"restart_limit", "integer", "10",
     "How often the guest may so restart within `restart_window`, to 1000; 0: no limit.",
     integer<&Config::restart_limit, 0, most_restarts, count>},
    {"restart_window", "integer", "300", "The seconds in which its restarts are counted, 1 to 86400.",
     integer<&Config::restart_window, 1, longest_window, seconds>},
};

}  // namespace

std::span<const Key> keys() { return table; }

}  // namespace cloister::toolstack
