// Memory map, CPUID and MSRs of a domain, in the order in which they need each other.
#include "plan/plan.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <set>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "plan/package_values.hpp"
#include "policy/flags.hpp"
#include "vmx/features.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

Failed at_key(const DomainConfig& config, std::string_view key, const std::string& message) {
  return Failed(Diagnostic{config.position_of(key), std::string("'").append(key).append("': ").append(message)});
}

/// Sizes and NUMA nodes: the package of the lowest number becomes node 0, the next one node 1.
std::vector<platform::EpcSize> virtual_sections(const DomainConfig& config, std::span<const u32> packages) {
  assert(packages.empty() || packages.size() == config.epc.size());
  std::vector<u32> of_section(packages.begin(), packages.end());
  if (packages.empty()) {
    for (const EpcSection& section : config.epc) of_section.push_back(section.package.value_or(0));
  }
  const std::set<u32> nodes(of_section.begin(), of_section.end());
  std::vector<platform::EpcSize> sections;
  for (std::size_t i = 0; i < config.epc.size(); ++i) {
    const auto node = std::distance(nodes.begin(), nodes.find(of_section[i]));
    sections.push_back({.bytes = config.epc[i].mib * arch::mib, .node = static_cast<u32>(node)});
  }
  return sections;
}

tl::expected<policy::MsrPolicy, Diagnostic> plan_msrs(const DomainConfig& config, const policy::MsrPolicy& machine,
                                                      const policy::CpuidTable& cpuid) {
  policy::LaunchRequest request{.hash = config.lehash, .writable = std::nullopt};
  if (config.where.contains("lewr")) request.writable = config.lewr;
  auto msrs = policy::domain_msrs(machine, cpuid, request);
  if (msrs) return std::move(*msrs);
  const bool hash = msrs.error().asked == policy::LaunchRefusal::Asked::hash;
  return at_key(config, hash ? "lehash" : "lewr", msrs.error().message);
}

/// What a configuration changes of the processor's features. A model has of SGX what its flags say, as on QEMU: what is
/// left out is off, though every processor here has it.
std::vector<policy::CpuidOverride> overrides_of(const DomainConfig& config,
                                                const std::function<arch::CpuidRegs(u32, u32)>& raw) {
  if (!names_a_model(config.silicon)) return config.cpuid;
  std::vector<policy::CpuidOverride> overrides;
  for (const policy::SgxFlag& flag : policy::sgx_flags()) {
    const policy::Feature& feature = *policy::find_feature(flag.name);
    const bool asked = std::ranges::count(config.cpu_flags, policy::CpuidOverride{std::string(flag.name), true}) != 0;
    overrides.push_back({std::string(flag.name), asked && arch::has(raw(feature.leaf, feature.subleaf), feature)});
  }
  overrides.insert(overrides.end(), config.cpuid.begin(), config.cpuid.end());
  return overrides;
}

}  // namespace

tl::expected<DomainPlan, Diagnostic> make_plan(const DomainConfig& config,
                                               const std::function<arch::CpuidRegs(u32, u32)>& raw,
                                               std::span<const u32> packages, const DescribedSilicon& silicon,
                                               const policy::MsrPolicy& machine) {
  DomainPlan plan{.config = config, .silicon = silicon, .map = {}, .cpuid = {}, .msr = {}};
  const unsigned physical_bits = raw(arch::leaf::address_sizes, 0).eax & 0xff;
  auto map =
      platform::make_memory_map(config.memory_mib * arch::mib, virtual_sections(config, packages), physical_bits);
  if (!map) return at_key(config, config.epc.empty() ? "memory" : "epc", map.error());
  plan.map = std::move(*map);
  if (const char* const device = config.key_of_device(); device != nullptr) {
    if (const auto bus = platform::add_pci(plan.map, physical_bits); !bus) return at_key(config, device, bus.error());
  }

  if (config.epc_is_paged() && config.epc_paging == EpcPaging::oss && !vmx::lists_oss(raw(arch::leaf::sgx, 0).eax))
    return at_key(config, "epc_paging",
                  "found \"oss\", but the processor has no OSS and ENCLV; expected \"trap\", or \"auto\"");

  policy::CpuidRequest request;
  request.vcpus = config.vcpus;
  request.packages = platform::nodes_of(plan.map);
  request.overrides = overrides_of(config, raw);
  for (const platform::EpcRange& range : plan.map.epc) request.epc.push_back({range.base.value, range.bytes});
  auto cpuid = policy::domain_cpuid(raw, request);
  if (!cpuid) {
    const bool by_flags = config.cpuid.empty() && !config.cpu_flags.empty();
    return at_key(config, by_flags ? "cpu_flags" : config.cpuid.empty() ? "epc" : "cpuid", cpuid.error());
  }
  plan.cpuid = std::move(*cpuid);
  constexpr u32 sgx_lc = 1 << 30;
  policy::MsrPolicy machine_msrs = machine;
  machine_msrs.launch_control = (raw(arch::leaf::features, 0).ecx & sgx_lc) != 0;
  plan.msr = TRY(plan_msrs(config, machine_msrs, plan.cpuid));
  return plan;
}

tl::expected<DomainPlan, Diagnostic> make_plan(const vmx::Backend& backend, const DomainConfig& config,
                                               const vmx::Package::Config& package, std::span<const u32> packages,
                                               const DescribedSilicon& silicon) {
  const auto raw = [&](u32 leaf, u32 subleaf) { return backend.cpuid(package, leaf, subleaf); };
  return make_plan(config, raw, packages, silicon, machine_msrs(package));
}

void limit_xfrm(vmx::Package::Config& package, const policy::CpuidTable& cpuid) {
  const arch::CpuidRegs attributes = cpuid.get(arch::leaf::sgx, 1);
  package.features.sgx.xfrm &= u64{attributes.edx} << 32 | attributes.ecx;
}

}  // namespace cloister::toolstack
