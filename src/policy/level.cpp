// Baselines: what every host has, closed under dependence, and who is the reason for what is missing.
#include "policy/level.hpp"

#include <algorithm>

#include "policy/dependence.hpp"
#include "policy/flags.hpp"

namespace cloister::policy {

namespace {

using Hash = LaunchInCommon::Hash;

bool sgx_offered(const LevelledHost& host) {
  return guests_have(host.view, host.sgx, *find_feature("sgx1")) == Known::yes;
}

/// Clears what needs a feature that is not granted. Features of `assumed` are there without being granted.
std::vector<bool> closed(const std::vector<const Feature*>& features_, const std::vector<bool>& granted,
                         const std::vector<bool>& assumed) {
  CpuidTable table;
  table.set(arch::leaf::basic_max, 0, {0xffff, 0, 0, 0});
  table.set(arch::leaf::extended_max, 0, {arch::leaf::extended_max | 0xffff, 0, 0, 0});
  for (const Feature& f : features()) put(table, f, true);
  for (std::size_t i = 0; i < features_.size(); ++i) {
    if (features_[i] != nullptr && !granted[i] && !assumed[i]) put(table, *features_[i], false);
  }
  clear_dependents(table);
  std::vector<bool> result = granted;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    if (features_[i] != nullptr && !has(table, *features_[i])) result[i] = false;
  }
  return result;
}

/// What to say of a flag that each host has, has not, or does not tell of; nullopt if it costs nobody anything.
std::optional<Cost> cost_of(std::string flag, std::string place, bool sgx, const std::vector<Known>& hosts) {
  Cost cost{std::move(flag), std::move(place), sgx, {}, {}};
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    if (hosts[i] == Known::no) cost.without.push_back(i);
    if (hosts[i] == Known::unknown) cost.unknown.push_back(i);
  }
  const std::size_t missing = cost.without.size() + cost.unknown.size();
  const bool nobody_has_it = missing == hosts.size();
  if (missing == 0 || (nobody_has_it && !cost.without.empty())) return std::nullopt;
  return cost;
}

// ------------------------------------------------------------------------------------------------ SGX

std::string why_not(const LevelledHost& host) {
  switch (host.sgx.state) {
    case SgxState::absent: return "no SGX";
    case SgxState::switched_off: return "SGX is switched off in its firmware";
    case SgxState::unknown:
      if (obstacle(host.sgx) == nullptr) return "not known whether it has SGX";
      break;
    case SgxState::offered: break;
  }
  const Finding* const finding = obstacle(host.sgx);
  return finding != nullptr ? finding->message : "not known whether it has sgx1";
}

LaunchInCommon launch_in_common(const std::vector<LevelledHost>& hosts) {
  LaunchInCommon common{.hash = Hash::any, .value = arch::msr::intel_lepubkeyhash, .writable = true};
  bool known = true;
  for (const LevelledHost& host : hosts) {
    if (host.sgx.launch == LaunchCase::unlocked) continue;
    common.writable = false;
    const auto hash = locked_hash(host.view, host.sgx.launch);
    if (!hash) {
      known = false;
    } else if (common.hash == Hash::any) {
      common.hash = Hash::one;
      common.value = *hash;
    } else if (common.value != *hash) {
      common.hash = Hash::none;
    }
  }
  // Two locked hosts that disagree settle it, whatever a third one is.
  if (!known && common.hash != Hash::none) common.hash = Hash::unknown;
  if (common.hash != Hash::one) common.value = arch::msr::intel_lepubkeyhash;
  return common;
}

/// What a limit of every host's is, and who sets it. 0 is "not known", unless there is no SGX.
void put_limit_costs(Baseline& result, const std::vector<LevelledHost>& hosts) {
  const auto put = [&](std::string what, const char* place, const auto& has_it) {
    std::vector<Known> known;
    for (const LevelledHost& host : hosts) known.push_back(has_it(host.sgx));
    if (auto cost = cost_of(std::move(what), place, true, known)) result.costs.push_back(std::move(*cost));
  };
  const auto without_sgx = [](const SgxReport& sgx) {
    return sgx.state == SgxState::absent || sgx.state == SgxState::switched_off || obstacle(sgx) != nullptr;
  };
  u64 xfrm = 0;
  u8 log2_32 = 0, log2_64 = 0;
  for (const LevelledHost& host : hosts) {
    xfrm |= host.sgx.xfrm;
    log2_32 = std::max(log2_32, host.sgx.log2_size_32);
    log2_64 = std::max(log2_64, host.sgx.log2_size_64);
  }
  // ECREATE takes no XFRM without x87 and SSE (SDM vol. 3D, ECREATE).
  constexpr u64 mandatory = 3;
  for (const std::string& name : names_of_xfrm(xfrm & ~mandatory)) {
    put("XFRM " + name, "leaf 0x12, sub-leaf 1, ECX and EDX", [&](const SgxReport& sgx) {
      if (without_sgx(sgx)) return Known::no;
      if (sgx.xfrm == 0) return Known::unknown;
      const auto names = names_of_xfrm(sgx.xfrm);
      return std::ranges::find(names, name) != names.end() ? Known::yes : Known::no;
    });
  }
  const auto put_size = [&](int mode, u8 most, u8 SgxReport::*log2) {
    if (most == 0) return;
    put(std::to_string(mode) + "-bit enclaves of 2^" + std::to_string(most) + " bytes", "leaf 0x12, sub-leaf 0, EDX",
        [&](const SgxReport& sgx) {
          if (without_sgx(sgx)) return Known::no;
          if (sgx.*log2 == 0) return Known::unknown;
          return sgx.*log2 == most ? Known::yes : Known::no;
        });
  };
  put_size(32, log2_32, &SgxReport::log2_size_32);
  put_size(64, log2_64, &SgxReport::log2_size_64);
  const bool some_open = std::ranges::any_of(hosts, [](auto& h) { return h.sgx.launch == LaunchCase::unlocked; });
  if (!some_open) return;
  put("launch-key hash of its own", "IA32_FEATURE_CONTROL bit 17", [](const SgxReport& sgx) {
    if (sgx.launch == LaunchCase::unlocked) return Known::yes;
    return sgx.launch == LaunchCase::unknown ? Known::unknown : Known::no;
  });
}

void put_sgx(Baseline& result, const std::vector<LevelledHost>& hosts) {
  const std::vector<const Feature*> all = sgx_features();
  std::vector<bool> granted;
  for (const Feature* const feature : all) {
    std::vector<Known> known;
    for (const LevelledHost& host : hosts) known.push_back(guests_have(host.view, host.sgx, *feature));
    granted.push_back(std::ranges::all_of(known, [](Known k) { return k == Known::yes; }));
    if (auto cost = cost_of(std::string(feature->name), place_of(*feature), true, known))
      result.costs.push_back(std::move(*cost));
  }
  put_limit_costs(result, hosts);
  granted = closed(all, granted, std::vector<bool>(all.size(), false));
  SgxPolicy& sgx = result.sgx;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (granted[i]) sgx.flags.emplace_back(all[i]->name);
  }
  // Without the first instructions no enclave runs, and the other bits promise what nobody keeps.
  if (std::ranges::find(sgx.flags, "sgx1") == sgx.flags.end()) {
    sgx.flags.clear();
    for (const LevelledHost& host : hosts) {
      if (sgx_offered(host)) continue;
      result.no_sgx.push_back(host.view.name + ": " + why_not(host));
    }
    return;
  }
  sgx.xfrm = ~u64{0};
  sgx.log2_size_32 = sgx.log2_size_64 = 0xff;
  for (const LevelledHost& host : hosts) {
    // 0 is "not known", and stays.
    sgx.xfrm &= host.sgx.xfrm;
    sgx.log2_size_32 = std::min(sgx.log2_size_32, host.sgx.log2_size_32);
    sgx.log2_size_64 = std::min(sgx.log2_size_64, host.sgx.log2_size_64);
  }
  sgx.launch = launch_in_common(hosts);
}

void put_epc(Baseline& result, const std::vector<LevelledHost>& hosts) {
  std::optional<u64> least;
  std::optional<u8> property;
  bool sizes_known = true, same_property = true;
  for (const LevelledHost& host : hosts) {
    const auto sections = epc_of(host.view);
    const auto bytes = bytes_of(sections);
    if (!bytes) {
      sizes_known = same_property = false;
      continue;
    }
    least = least ? std::min(*least, *bytes) : *bytes;
    for (const EpcSectionView& section : *sections) {
      same_property &= section.property != 0 && (!property || *property == section.property);
      property = section.property;
    }
  }
  if (sizes_known) result.epc_bytes = least;
  if (same_property) result.epc_property = property;
}

// ------------------------------------------------------------------------------------------------ CPU

/// Their common vendor; the error says that they differ.
tl::expected<std::string, std::string> common_vendor(const std::vector<LevelledHost>& hosts) {
  const LevelledHost* first = nullptr;
  for (const LevelledHost& host : hosts) {
    if (host.cpu.vendor.empty()) continue;
    if (first == nullptr) first = &host;
    if (host.cpu.vendor != first->cpu.vendor) {
      return tl::unexpected("the vendors differ: " + first->view.name + " is " + first->cpu.vendor + "'s, " +
                            host.view.name + " is " + host.cpu.vendor + "'s");
    }
  }
  return first == nullptr ? std::string() : first->cpu.vendor;
}

void put_cpu(Baseline& result, const std::vector<LevelledHost>& hosts, const CpuMap& map) {
  for (const LevelledHost& host : hosts) {
    if (host.cpu.told) continue;
    result.no_cpu = host.view.name + " does not tell its CPU's features";
    return;
  }
  const auto vendor = common_vendor(hosts);
  if (!vendor) {
    result.no_cpu = vendor.error();
    return;
  }
  std::vector<bool> granted, assumed;
  std::vector<const Feature*> ours;
  for (std::size_t i = 0; i < map.features.size(); ++i) {
    const MapFeature& feature = map.features[i];
    std::vector<Known> known;
    for (const LevelledHost& host : hosts) known.push_back(host.cpu.features[i]);
    const bool all = std::ranges::all_of(known, [](Known k) { return k == Known::yes; });
    ours.push_back(feature_of(feature));
    granted.push_back(all);
    assumed.push_back(std::ranges::none_of(known, [](Known k) { return k == Known::no; }));
    if (all && !feature.migratable) result.immovable.push_back(feature.name);
    if (is_sgx(feature) || never_a_guests(feature.name)) continue;
    if (auto cost = cost_of(feature.name, place_of(feature), false, known)) result.costs.push_back(std::move(*cost));
  }
  granted = closed(ours, granted, assumed);

  std::vector<std::string> preferred;
  for (const HostSummary& host : result.hosts) {
    if (host.cpu && std::ranges::find(preferred, host.cpu->model) == preferred.end()) {
      preferred.push_back(host.cpu->model);
    }
  }
  if (map.models.empty()) {
    result.cpu = NamedCpu{*vendor, {}, {}, {}};
    for (std::size_t i = 0; i < granted.size(); ++i) {
      if (granted[i]) result.cpu->required.push_back(map.features[i].name);
    }
    std::ranges::sort(result.cpu->required);
  } else {
    result.cpu = nearest_model(map, granted, *vendor, 0, Whose::guest, preferred);
  }
  if (!result.cpu) {
    result.no_cpu = "the CPU map has no model for it";
    return;
  }
  const bool all_named = std::ranges::none_of(hosts, [](const LevelledHost& h) { return h.cpu.vendor.empty(); });
  if (!all_named) result.cpu->vendor.clear();
  std::erase_if(result.cpu->required, [&](const std::string& name) {
    const MapFeature& feature = *map.find_feature(name);
    if (never_a_guests(name) || !feature.migratable) return true;
    return is_sgx(feature) && std::ranges::find(result.sgx.flags, feature_of(feature)->name) == result.sgx.flags.end();
  });
}

}  // namespace

// ------------------------------------------------------------------------------------------------ shared

std::vector<const Feature*> sgx_features() {
  std::vector<const Feature*> all;
  for (const Feature& feature : features()) {
    // ENCLV stays the hypervisor's: no guest has it.
    if (!feature.name.starts_with("sgx") || feature.name == "sgx-enclv") continue;
    const bool alias = std::ranges::any_of(all, [&](const Feature* f) { return *f == feature; });
    if (!alias) all.push_back(&feature);
  }
  return all;
}

std::vector<std::string> names_of_xfrm(u64 xfrm) {
  struct Component {
    std::string_view name;
    u64 bits;
  };
  // SDM vol. 1, 13.1.
  constexpr Component components[] = {
      {"x87", 1},       {"sse", 2},        {"avx", u64{1} << 2}, {"mpx", u64{3} << 3}, {"avx512", u64{7} << 5},
      {"pku", 1u << 9}, {"amx", 3u << 17}, {"apx", u64{1} << 19}};
  std::vector<std::string> names;
  for (const Component& component : components) {
    if ((xfrm & component.bits) != 0) names.emplace_back(component.name);
    xfrm &= ~component.bits;
  }
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((xfrm >> bit & 1) != 0) names.push_back("component " + std::to_string(bit));
  }
  return names;
}

std::optional<u64> bytes_of(const std::optional<std::vector<EpcSectionView>>& sections) {
  if (!sections) return std::nullopt;
  u64 bytes = 0;
  for (const EpcSectionView& section : *sections) bytes += section.bytes;
  return bytes;
}

std::optional<std::array<u64, 4>> locked_hash(const HostView& host, LaunchCase launch) {
  switch (launch) {
    case LaunchCase::none:
    case LaunchCase::unwritable: return arch::msr::intel_lepubkeyhash;
    case LaunchCase::locked: return lepubkeyhash_of(host);
    case LaunchCase::unlocked:
    case LaunchCase::unknown: break;
  }
  return std::nullopt;
}

std::string_view name_of(LaunchInCommon::Hash hash) {
  switch (hash) {
    case Hash::any: return "any";
    case Hash::one: return "one";
    case Hash::none: return "none";
    case Hash::unknown: break;
  }
  return "unknown";
}

std::vector<LevelledHost> look_at(std::span<const HostView> hosts, const CpuMap& map) {
  std::vector<LevelledHost> seen;
  for (const HostView& host : hosts) seen.push_back({host, sgx_report(host), map_cpu(host, map)});
  return seen;
}

Baseline baseline(std::span<const HostView> hosts, const CpuMap& map) {
  const std::vector<LevelledHost> seen = look_at(hosts, map);
  Baseline result;
  for (const LevelledHost& host : seen) {
    const Finding* const finding = obstacle(host.sgx);
    result.hosts.push_back({host.view.name, host.sgx.state, host.sgx.launch, name_host(host.cpu, map),
                            epc_of(host.view), finding == nullptr ? "" : finding->message});
  }
  put_sgx(result, seen);
  put_epc(result, seen);
  put_cpu(result, seen, map);
  result.migrations = migrations(seen, map);
  return result;
}

Wish wish_of(const Baseline& baseline) {
  Wish wish;
  wish.flags = baseline.sgx.flags;
  if (baseline.cpu) {
    wish.model = baseline.cpu->model;
    wish.without = baseline.cpu->disabled;
    for (const std::string& name : baseline.cpu->required) {
      if (std::ranges::find(wish.flags, name) == wish.flags.end()) wish.flags.push_back(name);
    }
  }
  if (baseline.sgx.flags.empty()) return wish;
  wish.xfrm = baseline.sgx.xfrm;
  wish.log2_size_32 = baseline.sgx.log2_size_32;
  wish.log2_size_64 = baseline.sgx.log2_size_64;
  const LaunchInCommon& launch = baseline.sgx.launch;
  // Intel's is what a domain has that asks for none, and a host without launch control takes no request.
  if (launch.hash == Hash::one && launch.value != arch::msr::intel_lepubkeyhash) wish.launch.hash = launch.value;
  if (launch.writable) wish.launch.writable = true;
  return wish;
}

}  // namespace cloister::policy
