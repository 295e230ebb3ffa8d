// From settings to a domain: each key's reader, then what concerns several keys. And back, key by key.
#include "config/config.hpp"

#include <algorithm>

#include "arch/sgx.hpp"
#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "config/bootloader.hpp"
#include "config/keys.hpp"
#include "config/xl/parser.hpp"
#include "hypervisor/specification.hpp"
#include "policy/libvirt_models.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

Diagnostic unknown_key(const xl::Setting& setting) {
  std::vector<std::string_view> names;
  for (const Key& key : keys()) names.push_back(key.name);
  std::string message = "unknown key '" + cut(setting.name) + "' is ignored";
  if (const auto near = text::nearest(setting.name, names)) {
    message.append(", did you mean '").append(*near).append("'?");
  }
  return {setting.at, message};
}

constexpr auto by_place = [](const auto& it) { return std::pair(it.at.line, it.at.column); };

/// Adds those that can be told, the first ones; how many there are besides.
std::size_t warn_of_unknown_keys(std::vector<xl::Setting> unknown, std::vector<Diagnostic>& warnings) {
  std::ranges::stable_sort(unknown, {}, by_place);
  const std::size_t told = std::min(unknown.size(), most_warnings);
  for (std::size_t i = 0; i < told; ++i) warnings.push_back(unknown_key(unknown[i]));
  return unknown.size() - told;
}

/// In the order of the file, and no more than most_warnings; `untold`: how many there are besides.
void settle_warnings(std::vector<Diagnostic>& warnings, std::size_t untold) {
  std::ranges::stable_sort(warnings, {}, by_place);
  const std::size_t all = warnings.size() + untold;
  if (all <= most_warnings) return;
  warnings.resize(most_warnings - 1);
  warnings.push_back({{}, std::to_string(all - warnings.size()) + " more warnings are left out"});
}

/// As libxl: cmdline as it is, or root=ROOT and EXTRA with a blank between.
void settle_cmdline(Draft& draft, std::vector<Diagnostic>& warnings) {
  std::string& cmdline = draft.config.cmdline;
  if (draft.cmdline) {
    for (const std::string_view ignored : {"root", "extra"}) {
      if (draft.config.where.contains(ignored)) {
        warnings.push_back({draft.config.position_of(ignored),
                            std::string("'").append(ignored).append("' is ignored, since 'cmdline' is set")});
      }
    }
    cmdline = *draft.cmdline;
    return;
  }
  if (draft.root) cmdline = "root=" + *draft.root;
  if (draft.extra) cmdline.append(cmdline.empty() ? "" : " ").append(*draft.extra);
}

/// Keys that mean something only in a domain with SGX.
void check_sgx_keys(const DomainConfig& config, std::vector<Diagnostic>& warnings) {
  if (!config.epc.empty()) return;
  for (const std::string_view key :
       {"epc_min", "epc_paging", "epc_weight", "lehash", "lewr", "sgx_provision", "sgx_platform"}) {
    if (config.where.contains(key)) {
      warnings.push_back(
          {config.position_of(key), std::string("'").append(key).append("' has no effect in a domain without 'epc'")});
    }
  }
}

/// What the hypervisor needs to page the EPC.
tl::expected<void, Diagnostic> check_epc_min(const DomainConfig& config) {
  if (config.epc.empty() || config.epc_min_mib == 0) return {};
  const u64 least = config.least_epc_min_mib();
  const auto refuse = [&](std::string what) {
    return Failed(Diagnostic{config.position_of("epc_min"), "'epc_min': " + std::move(what)});
  };
  if (config.epc_min_mib > config.epc_mib())
    return refuse("found " + std::to_string(config.epc_min_mib) + " MiB, expected at most 'epc', which is " +
                  std::to_string(config.epc_mib()));
  if (!config.epc_is_paged()) return {};
  if (config.epc_min_mib < least)
    return refuse("found " + std::to_string(config.epc_min_mib) + " MiB, expected at least " + std::to_string(least) +
                  " for so much 'epc', so many sections and so many processors");
  return {};
}

tl::expected<void, Diagnostic> check_cpus(const DomainConfig& config) {
  const std::size_t lists = config.cpus.of_vcpu.size();
  if (lists <= config.vcpus) return {};
  return Failed(Diagnostic{config.position_of("cpus"), "'cpus': found " + std::to_string(lists) +
                                                           " elements, expected at most 'vcpus', which is " +
                                                           std::to_string(config.vcpus)});
}

/// Other silicon is changed by `cpuid`.
tl::expected<void, Diagnostic> check_cpu_flags(const DomainConfig& config) {
  if (config.cpu_flags.empty() || names_a_model(config.silicon)) return {};
  return Failed(Diagnostic{config.position_of("cpu_flags"),
                           "'cpu_flags': found flags beside silicon '" + config.silicon +
                               "', expected a libvirt model as 'silicon'; 'cpuid' changes features of any other"});
}

}  // namespace

std::string_view name_of(Action action) {
  switch (action) {
    case Action::destroy: return "destroy";
    case Action::restart: return "restart";
    case Action::preserve: return "preserve";
  }
  return "unknown";
}

std::string_view name_of(EpcPaging how) {
  switch (how) {
    case EpcPaging::automatic: return "auto";
    case EpcPaging::trap: return "trap";
    case EpcPaging::oss: return "oss";
  }
  return "unknown";
}

std::string_view name_of(HostShutdown word) {
  switch (word) {
    case HostShutdown::shutdown: return "shutdown";
    case HostShutdown::destroy: return "destroy";
    case HostShutdown::save: return "save";
  }
  return "unknown";
}

Position DomainConfig::position_of(std::string_view key) const {
  const auto found = where.find(key);
  return found == where.end() ? Position{} : found->second;
}

std::size_t DomainConfig::devices() const {
  return disks.size() + interfaces.size() + (virtio_console ? 1 : 0) + (rng ? 1 : 0) + (vsock ? 1 : 0);
}

const char* DomainConfig::key_of_device() const {
  return !disks.empty()        ? "disk"
         : !interfaces.empty() ? "vif"
         : virtio_console      ? "virtio_console"
         : rng                 ? "rng"
         : vsock               ? "vsock"
                               : nullptr;
}

u64 DomainConfig::epc_mib() const {
  u64 sum = 0;
  for (const EpcSection& section : epc) sum += section.mib;
  return sum;
}

std::vector<EpcSection> DomainConfig::epc_frames() const {
  if (!epc_is_paged()) return epc;
  std::vector<EpcSection> frames = epc;
  u64 left = epc_min_mib, sizes = epc_mib(), behind = epc.size();
  for (EpcSection& section : frames) {
    --behind;
    const u64 most = left > behind ? left - behind : 1;
    const u64 part = std::clamp<u64>(left * section.mib / sizes, 1, most);
    sizes -= section.mib;
    left -= std::min(left, part);
    section.mib = part;
  }
  return frames;
}

u64 DomainConfig::least_epc_min_mib() const {
  const u64 pages = hypervisor::least_paged_epc(epc_mib() * arch::pages_per_mib, vcpus);
  return std::max<u64>((pages + arch::pages_per_mib - 1) / arch::pages_per_mib, epc.size());
}

u64 DomainConfig::epc_memory_mib() const {
  if (!epc_is_paged()) return epc_mib();
  const u64 image_bytes = (arch::page_size + sizeof(arch::Pcmd)) * arch::pages_per_mib * epc_mib();
  return epc_min_mib + ((image_bytes + (1 << 20) - 1) >> 20);
}

bool names_a_model(std::string_view silicon) { return policy::find_libvirt_model(silicon) != nullptr; }

bool names_a_dump(std::string_view silicon) { return silicon.find_first_of("/.") != std::string_view::npos; }

tl::expected<ReadConfig, Diagnostic> read_config(std::string_view text) {
  auto document = TRY(xl::parse(text));

  Draft draft;
  std::vector<Diagnostic> warnings = std::move(document.warnings);
  std::vector<xl::Setting> unknown;
  for (xl::Setting& setting : document.settings) {
    const auto key = std::ranges::find(keys(), setting.name, &Key::name);
    if (key == keys().end()) {
      unknown.push_back(std::move(setting));
      continue;
    }
    TRY(key->value.read(draft, setting));
    draft.config.where.emplace(setting.name, setting.value.at);
  }
  for (const Key& key : keys()) {
    if (key.fallback == "required" && !draft.config.where.contains(key.name)) {
      return Failed(Diagnostic{{}, std::string("the key '").append(key.name).append("' is missing")});
    }
  }
  const std::size_t untold = warn_of_unknown_keys(std::move(unknown), warnings);
  TRY(check_bootloader(draft.config));
  TRY(check_epc_min(draft.config));
  TRY(check_cpus(draft.config));
  TRY(check_cpu_flags(draft.config));
  settle_cmdline(draft, warnings);
  check_sgx_keys(draft.config, warnings);
  settle_warnings(warnings, untold);
  return ReadConfig{std::move(draft.config), std::move(warnings)};
}

std::string write_key(std::string_view key, const DomainConfig& config) {
  static const DomainConfig fresh;
  const Key& row = *std::ranges::find(keys(), key, &Key::name);
  const auto value = row.value.write(config);
  const bool said = value && (config.where.contains(key) || value != row.value.write(fresh));
  return said ? std::string(key).append(" = ").append(*value).append("\n") : std::string();
}

std::string write_config(const DomainConfig& config) {
  std::string text;
  for (const Key& key : keys()) text += write_key(key.name, config);
  return text;
}

}  // namespace cloister::toolstack
