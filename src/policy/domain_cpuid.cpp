// A domain's CPUID: the processor's leaves, then what belongs to the domain (topology, hypervisor leaf, EPC), then what
// the configuration overrides, then what follows from that (dependence rules, XSAVE area, XFRM).
#include <algorithm>
#include <bit>
#include <cstring>

#include "arch/topology.hpp"
#include "arch/try.hpp"
#include "policy/dependence.hpp"
#include "policy/leaves.hpp"
#include "policy/policy.hpp"
#include "policy/xsave_area.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

using Error = tl::unexpected<std::string>;

void put_named(CpuidTable& table, std::string_view name, bool on) { put(table, *find_feature(name), on); }
bool has_named(const CpuidTable& table, std::string_view name) { return has(table, *find_feature(name)); }

// ------------------------------------------------------------------------------------------------ platform

/// Every vCPU is a core of a package; caches above level 2 are the package's (SDM vol. 3A, 8.9).
void put_topology(CpuidTable& table, const CpuidRequest& request) {
  const u32 ids = ids_of_package(request.vcpus, request.packages);
  CpuidRegs version = table.get(leaf::version, 0);
  version.ebx = (version.ebx & 0xffff) | (ids << 16 & 0xff'0000) | (request.apic_id << 24);
  table.set(leaf::version, 0, version);
  put_named(table, "htt", ids > 1);

  for (u32 i = 0;; ++i) {
    CpuidRegs cache = table.get(leaf::cache, i);
    if ((cache.eax & 0x1f) == 0) break;
    const u32 level = (cache.eax >> 5) & 7;
    const u32 sharing = level > 2 ? ids - 1 : 0;
    cache.eax = (cache.eax & 0x3fff) | (sharing & 0xfff) << 14 | (ids - 1) << 26;
    table.set(leaf::cache, i, cache);
  }

  for (const u32 leaf : {leaf::topology, topology_v2}) {
    if (table.get(leaf::basic_max, 0).eax < leaf) continue;
    if (leaf == topology_v2 && table.get(leaf, 0).ebx == 0) continue;
    const u32 shift = static_cast<u32>(std::countr_zero(ids));
    constexpr u32 smt = 1 << 8, core = 2 << 8;
    table.set(leaf, 0, {0, 1, smt | 0, request.apic_id});
    table.set(leaf, 1, {shift, std::min(ids, request.vcpus), core | 1, request.apic_id});
    constexpr u32 level_type = 0xff00;
    for (u32 i = 2; (table.get(leaf, i).ecx & level_type) != 0; ++i) table.set(leaf, i, {});
  }
}

/// The signature is our own: guests must take neither KVM's nor Xen's paravirtual paths.
void put_hypervisor(CpuidTable& table) {
  put_named(table, "hypervisor", true);
  constexpr char signature[12] = {'C', 'l', 'o', 'i', 's', 't', 'e', 'r', 0, 0, 0, 0};
  u32 words[3];
  std::memcpy(words, signature, sizeof words);
  table.set(leaf::hypervisor, 0, {leaf::hypervisor, words[0], words[1], words[2]});
}

tl::expected<void, std::string> put_physical_bits(CpuidTable& table, unsigned bits) {
  if (bits == 0) return {};
  CpuidRegs sizes = table.get(leaf::address_sizes, 0);
  const unsigned most = sizes.eax & 0xff;
  if (bits > most) {
    return Error("the domain needs " + std::to_string(bits) + " physical address bits, the processor has " +
                 std::to_string(most));
  }
  sizes.eax = (sizes.eax & ~u32{0xff}) | bits;
  table.set(leaf::address_sizes, 0, sizes);
  return {};
}

// ------------------------------------------------------------------------------------------------ SGX

void clear_sgx_leaf(CpuidTable& table) {
  for (u32 i = 0; i <= 1; ++i) table.set(leaf::sgx, i, {});
  for (u32 i = 2; table.get(leaf::sgx, i) != CpuidRegs{}; ++i) table.set(leaf::sgx, i, {});
}

/// Sub-leaves 2 and up of leaf 12H: the domain's EPC sections, then an invalid one that ends the list (SDM vol. 3D,
/// table 37-6).
tl::expected<void, std::string> put_epc(CpuidTable& table, const std::vector<CpuidRequest::Epc>& sections) {
  if (!sections.empty() && (table.get(leaf::basic_max, 0).eax < leaf::sgx || !has_named(table, "sgx"))) {
    return Error("the domain has EPC, but the processor does not have sgx");
  }
  // How the processor protects its sections is how it protects the domain's.
  const u32 property = table.get(leaf::sgx, 2).ecx & 0xf;
  u32 subleaf = 2;
  for (; table.get(leaf::sgx, subleaf) != CpuidRegs{}; ++subleaf) table.set(leaf::sgx, subleaf, {});
  subleaf = 2;
  for (const auto& section : sections) {
    constexpr u32 epc_section = 1;
    const auto low = [](u64 v) { return static_cast<u32>(v & 0xffff'f000); };
    const auto high = [](u64 v) { return static_cast<u32>(v >> 32 & 0xf'ffff); };
    table.set(
        leaf::sgx, subleaf++,
        {low(section.base) | epc_section, high(section.base), low(section.bytes) | property, high(section.bytes)});
  }
  if (sections.empty()) put_named(table, "sgx", false);
  return {};
}

// ------------------------------------------------------------------------------------------------ overrides

/// What a domain has only if its configuration demands it. EUPDATESVN is for whoever has the machine, and makes all
/// pages worthless that were evicted before: a hypervisor's too.
constexpr std::string_view only_by_name[] = {"sgx-eupdatesvn"};

bool is_sgx(const Feature& feature) { return feature.name.starts_with("sgx"); }

std::string quoted(std::string_view name) { return std::string("'").append(name).append("'"); }

tl::expected<void, std::string> apply_overrides(CpuidTable& table, const CpuidRequest& request) {
  const CpuidTable offered = table;
  for (const std::string_view name : only_by_name) {
    if (has_named(table, name)) put_named(table, name, false);
  }
  for (const CpuidOverride& override_ : request.overrides) {
    const Feature* feature = find_feature(override_.feature);
    if (feature == nullptr) return Error(unknown_feature(override_.feature));
    if (override_.on && !has(offered, *feature)) {
      if (is_sgx(*feature) && request.epc.empty()) {
        return Error("CPU feature " + quoted(override_.feature) + " needs EPC, and the domain has none");
      }
      return Error("CPU feature " + quoted(override_.feature) + " was asked for, but the processor does not have it");
    }
    if (has(table, *feature) != override_.on) put(table, *feature, override_.on);
  }
  return {};
}

/// What was asked for must still be there once the dependence rules are applied.
tl::expected<void, std::string> check_overrides(const CpuidTable& table, const CpuidRequest& request) {
  for (const CpuidOverride& override_ : request.overrides) {
    const Feature& feature = *find_feature(override_.feature);
    if (!override_.on || has(table, feature)) continue;
    const auto ground = missing_ground(table, feature);
    if (!ground) continue;  // switched off by a later override of the same feature
    return Error("CPU feature " + quoted(override_.feature) + " was asked for, but needs " + quoted(*ground) +
                 ", which is off");
  }
  return {};
}

// ------------------------------------------------------------------------------------------------ consequences

/// XCR0 bits that exist because of a feature (SDM vol. 1, 13.1).
struct StateComponent {
  std::string_view feature;
  u64 xcr0;
};
constexpr StateComponent components[] = {
    {"avx", u64{1} << 2}, {"mpx", u64{3} << 3}, {"avx512f", u64{7} << 5}, {"pku", u64{1} << 9}};

/// Leaf 0DH: only components of features that the domain has, and the area's size for all of them (SDM vol. 1, 13.2
/// and 13.4.3).
void settle_xsave(CpuidTable& table) {
  CpuidRegs main = table.get(leaf::xsave, 0);
  u64 mask = u64{main.edx} << 32 | main.eax;
  for (const StateComponent& component : components) {
    if (!has_named(table, component.feature)) mask &= ~component.xcr0;
  }
  if (!has_named(table, "xsave")) mask = 0;

  for (u32 i = 2; i < 63; ++i) {
    const CpuidRegs component = table.get(leaf::xsave, i);
    constexpr u32 supervisor = 1;
    if (component == CpuidRegs{} || (component.ecx & supervisor) != 0) continue;
    if ((mask >> i & 1) == 0) table.set(leaf::xsave, i, {});
  }
  const u32 bytes = mask != 0 ? standard_xsave_size(table, mask) : 0;
  main.eax = static_cast<u32>(mask);
  main.edx = static_cast<u32>(mask >> 32);
  main.ecx = bytes;
  main.ebx = std::min(main.ebx, bytes);
  table.set(leaf::xsave, 0, main);
  CpuidRegs extended = table.get(leaf::xsave, 1);
  extended.ebx = std::min(extended.ebx, compacted_xsave_size(table, mask));
  if (extended != table.get(leaf::xsave, 1)) table.set(leaf::xsave, 1, extended);
  if (mask == 0) {
    for (u32 i = 1; i < 63; ++i) {
      if (table.get(leaf::xsave, i) != CpuidRegs{}) table.set(leaf::xsave, i, {});
    }
  }
}

/// Sub-leaf 1 of leaf 12H: an enclave's XFRM may have what XCR0 may have, and always x87 and SSE.
void settle_sgx(CpuidTable& table) {
  if (!has_named(table, "sgx")) return clear_sgx_leaf(table);
  const CpuidRegs xsave = table.get(leaf::xsave, 0);
  // ENCLV stays the hypervisor's: in a guest it is undefined, so the guest is not told of it.
  put_named(table, "sgx-enclv", false);
  CpuidRegs attributes = table.get(leaf::sgx, 1);
  attributes.ecx = (attributes.ecx & xsave.eax) | 3;
  attributes.edx &= xsave.edx;
  table.set(leaf::sgx, 1, attributes);
}

}  // namespace

tl::expected<CpuidTable, std::string> domain_cpuid(const std::function<CpuidRegs(u32, u32)>& raw,
                                                   const CpuidRequest& request) {
  CpuidTable table = read_processor(raw);
  put_topology(table, request);
  put_hypervisor(table);
  // OSXSAVE and OSPKE mirror CR4, which a new processor has clear (SDM vol. 2A, CPUID).
  CpuidRegs version = table.get(leaf::version, 0);
  version.ecx &= ~(u32{1} << 27);
  table.set(leaf::version, 0, version);
  CpuidRegs structured = table.get(leaf::features, 0);
  structured.ecx &= ~(u32{1} << 4);
  table.set(leaf::features, 0, structured);

  TRY(put_physical_bits(table, request.physical_bits));
  TRY(put_epc(table, request.epc));
  clear_dependents(table);
  TRY(apply_overrides(table, request));
  clear_dependents(table);
  TRY(check_overrides(table, request));
  settle_xsave(table);
  settle_sgx(table);
  // Leaves past the maximum and empty sub-leaves answer zeros anyway: a policy has one spelling.
  CpuidTable tidy;
  for (const auto& [where, regs] : table.leaves()) {
    const auto [leaf, subleaf] = where;
    const bool ends_list = regs == CpuidRegs{} && (subleaf != 0 || leaf == leaf::sgx);
    if (!ends_list) tidy.set(leaf, subleaf, regs);
  }
  return tidy;
}

}  // namespace cloister::policy
