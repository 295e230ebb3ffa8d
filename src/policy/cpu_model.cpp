// Candidates are weighed by the length of their lists; a disabled feature weighs more the more of them there are, since
// a model with many features off is not that model any more.
#include "policy/cpu_model.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "policy/flags.hpp"

namespace cloister::policy {

using arch::CpuidRegs;

namespace {

// ------------------------------------------------------------------------------------------------ what a host has

/// Leaf 0: EBX, EDX, ECX are the letters of the vendor's name (SDM vol. 2A, CPUID).
struct Vendor {
  u32 ebx, edx, ecx;
  std::string_view name;  ///< as libvirt's map calls it
};
constexpr Vendor vendors[] = {{0x756e6547, 0x49656e69, 0x6c65746e, "Intel"},
                              {0x68747541, 0x69746e65, 0x444d4163, "AMD"},
                              {0x6f677948, 0x6e65476e, 0x656e6975, "Hygon"}};

std::string vendor_of(const CpuidTable& table) {
  const CpuidRegs r = table.look(arch::leaf::basic_max, 0).regs;
  for (const Vendor& v : vendors) {
    if (v.ebx == r.ebx && v.edx == r.edx && v.ecx == r.ecx) return std::string(v.name);
  }
  return {};
}

/// Leaves 0DH and 12H are empty without their feature.
bool lacks_ground(const CpuidTable& table, u32 leaf) {
  const char* const ground = leaf == arch::leaf::sgx ? "sgx" : leaf == arch::leaf::xsave ? "xsave" : nullptr;
  return ground != nullptr && table.says(*find_feature(ground)) == Known::no;
}

/// MSRs that are there only with a CPUID bit (SDM vol. 4, table 2-2).
struct MsrGround {
  u32 first, last;
  std::string_view feature;
};
constexpr MsrGround msr_grounds[] = {
    {0x10a, 0x10a, "arch-capabilities"}, {0xcf, 0xcf, "core-capability"}, {0x480, 0x491, "vmx"}};

Known known_by_leaves(const HostView& host, const MapFeature& feature) {
  const CpuidTable& table = host.cpus.front().table;
  if (!feature.cpuid) {
    if (const auto shown = feature.msr ? host.msrs.find(*feature.msr) : host.msrs.end();
        shown != host.msrs.end() && feature.msr_bits != 0)
      return (shown->second & feature.msr_bits) == feature.msr_bits ? Known::yes : Known::no;
    for (const MsrGround& g : msr_grounds) {
      if (!feature.msr || *feature.msr < g.first || *feature.msr > g.last) continue;
      if (table.says(*find_feature(g.feature)) == Known::no) return Known::no;
    }
    return Known::unknown;
  }
  std::vector<MapBits> parts{*feature.cpuid};
  parts.insert(parts.end(), feature.also.begin(), feature.also.end());
  Known all = Known::yes;
  for (const MapBits& part : parts) {
    const Known here = says(table, part);
    if (here == Known::no || (here == Known::unknown && lacks_ground(table, part.leaf))) return Known::no;
    if (here == Known::unknown) all = Known::unknown;
  }
  return all;
}

struct FamilyModel {
  u32 family, model, stepping;
};
FamilyModel parts_of(u32 signature) {
  return {(signature >> 20 & 0xff) + (signature >> 8 & 0xf), (signature >> 12 & 0xf0) + (signature >> 4 & 0xf),
          signature & 0xf};
}

/// Haswell processors whose TSX is broken and that still say they have it (Intel's erratum HSD136).
bool has_broken_tsx(const MappedCpu& cpu) {
  const auto [family, model, stepping] = parts_of(cpu.signature);
  return cpu.vendor == "Intel" && family == 6 &&
         (model == 60 || model == 69 || model == 70 || (model == 63 && stepping < 4));
}

/// Leaf 80000001H, EDX bit 11 reads as 0 outside 64-bit mode, and 32-bit programs make dumps too; every processor of
/// Intel's with 64-bit mode has SYSCALL in it (SDM vol. 2A, CPUID and SYSCALL).
bool hides_syscall(const HostView& host, const std::string& vendor) {
  if (host.cpus.empty() || vendor != "Intel") return false;
  return has(host.cpus.front().table, *find_feature("lm"));
}

// ------------------------------------------------------------------------------------------------ choosing

/// A model's signature without stepping stands for every stepping, unless the model lists some.
bool is_of(const MapModel& model, u32 signature) {
  const auto [family, number, stepping] = parts_of(signature);
  bool any = false, listed = false, lists_steppings = false;
  for (const u32 s : model.signatures) {
    const auto [f, m, step] = parts_of(s);
    if (f != family || m != number) continue;
    any = true;
    lists_steppings |= step != 0;
    listed |= step == stepping;
  }
  return any && (listed || !lists_steppings);
}

struct Weight {
  std::size_t total = 0, disabled = 0;
};
Weight weigh(const NamedCpu& cpu, Whose whose) {
  const std::size_t enabled = cpu.required.size(), disabled = cpu.disabled.size();
  if (whose == Whose::host) return {enabled + disabled, 0};
  const std::size_t half = (disabled + 1) / 2;
  const std::size_t penalty = half * (half + 3) / 2;
  return {enabled + disabled - half + penalty, penalty};
}

NamedCpu describe(const CpuMap& map, const MapModel& model, const std::vector<bool>& has) {
  NamedCpu cpu;
  cpu.model = model.name;
  for (std::size_t i = 0; i < map.features.size(); ++i) {
    const std::string& name = map.features[i].name;
    const bool in_model = std::ranges::find(model.features, name) != model.features.end();
    if (has[i] && !in_model) cpu.required.push_back(name);
    if (!has[i] && in_model) cpu.disabled.push_back(name);
  }
  std::ranges::sort(cpu.required);
  std::ranges::sort(cpu.disabled);
  return cpu;
}

}  // namespace

const Feature* feature_of(const MapFeature& feature) {
  if (!feature.cpuid || !feature.also.empty()) return nullptr;
  for (const Feature& f : features()) {
    if (*feature.cpuid == bits_of(f)) return &f;
  }
  return nullptr;
}

bool is_sgx(const MapFeature& feature) {
  const Feature* const ours = feature_of(feature);
  return ours != nullptr && ours->name.starts_with("sgx");
}

std::string place_of(const MapFeature& feature) {
  if (const Feature* const ours = feature_of(feature)) return place_of(*ours);
  const auto hex = [](u32 value) {
    char digits[8];
    return "0x" + std::string(digits, std::to_chars(digits, std::end(digits), value, 16).ptr);
  };
  if (feature.msr) return "MSR " + hex(*feature.msr);
  if (!feature.cpuid) return {};
  return "leaf " + hex(feature.cpuid->leaf) + ", sub-leaf " + std::to_string(feature.cpuid->subleaf);
}

MappedCpu map_cpu(const HostView& host, const CpuMap& map) {
  MappedCpu cpu;
  const MapModel* const model = host.model ? map.find_model(*host.model) : nullptr;
  if (!host.cpus.empty()) {
    const CpuidTable& table = host.cpus.front().table;
    cpu.vendor = vendor_of(table);
    cpu.signature = table.look(arch::leaf::version, 0).regs.eax;
  } else if (model != nullptr) {
    cpu.vendor = host.vendor.empty() ? model->vendor : host.vendor;
    cpu.model = model->name;
  }
  for (const MapFeature& feature : map.features) {
    Known known = Known::unknown;
    const Feature* const ours = feature_of(feature);
    const Known named = ours != nullptr ? host.named.says(*ours) : Known::unknown;
    if (ours != nullptr && ours->name.starts_with("sgx")) {
      known = policy::has(host, *ours);
    } else if (!host.cpus.empty()) {
      known = known_by_leaves(host, feature);
    } else if (named != Known::unknown) {
      known = named;
    } else if (model != nullptr) {
      const bool in_model = std::ranges::find(model->features, feature.name) != model->features.end();
      known = in_model ? Known::yes : Known::no;
    }
    cpu.features.push_back(known);
    cpu.told |= known == Known::yes && feature.cpuid && feature.cpuid->leaf == arch::leaf::version;
  }
  const bool broken_tsx = has_broken_tsx(cpu), syscall_hidden = hides_syscall(host, cpu.vendor);
  for (std::size_t i = 0; i < map.features.size(); ++i) {
    const std::string& name = map.features[i].name;
    if (broken_tsx && (name == "hle" || name == "rtm")) cpu.features[i] = Known::no;
    if (syscall_hidden && name == "syscall") cpu.features[i] = Known::yes;
  }
  return cpu;
}

std::optional<NamedCpu> nearest_model(const CpuMap& map, const std::vector<bool>& has, std::string_view vendor,
                                      u32 signature, Whose whose, const std::vector<std::string>& preferred) {
  std::optional<NamedCpu> best;
  const MapModel* best_model = nullptr;
  // Newer models come later in a map, and of equals the newest is wanted.
  for (auto model = map.models.rbegin(); model != map.models.rend(); ++model) {
    if (!vendor.empty() && !model->vendor.empty() && model->vendor != vendor) continue;
    if (!(whose == Whose::host ? model->for_host : model->for_guest)) continue;
    NamedCpu candidate = describe(map, *model, has);
    if (whose == Whose::host && !candidate.disabled.empty()) continue;

    const bool is_preferred = std::ranges::find(preferred, model->name) != preferred.end();
    const bool only = is_preferred && preferred.size() == 1;
    const auto better = [&] {
      if (!best || only) return true;
      if (signature != 0) {
        const bool mine = is_of(*model, signature), theirs = is_of(*best_model, signature);
        if (mine != theirs) return mine;
      }
      const Weight a = weigh(candidate, whose), b = weigh(*best, whose);
      if (a.total != b.total ? a.total < b.total : a.disabled < b.disabled) return true;
      return is_preferred && a.disabled < b.disabled;
    };
    if (!better()) continue;
    best = std::move(candidate);
    best_model = &*model;
    if (only) break;
  }
  if (best) best->vendor = vendor;
  return best;
}

std::optional<NamedCpu> name_host(const MappedCpu& host, const CpuMap& map) {
  if (!host.told) return std::nullopt;
  std::vector<bool> has;
  for (const Known known : host.features) has.push_back(known == Known::yes);
  if (!host.model.empty()) {
    NamedCpu named = describe(map, *map.find_model(host.model), has);
    named.vendor = host.vendor;
    return named;
  }
  return nearest_model(map, has, host.vendor, host.signature, Whose::host);
}

CpuMap map_of_features() {
  CpuMap map;
  for (const Feature& f : features()) {
    const MapBits bits = bits_of(f);
    const auto same = std::ranges::find(map.features, std::optional(bits), &MapFeature::cpuid);
    if (same != map.features.end()) {
      same->aliases.emplace_back(f.name);
    } else {
      MapFeature& added = map.features.emplace_back();
      added.name = f.name;
      added.cpuid = bits;
    }
  }
  return map;
}

bool never_a_guests(std::string_view map_feature) {
  constexpr std::array<std::string_view, 8> names{"osxsave",    "ospke", "ht",        "htt",
                                                  "hypervisor", "cmt",   "mbm_total", "mbm_local"};
  return std::ranges::find(names, map_feature) != names.end();
}

}  // namespace cloister::policy
