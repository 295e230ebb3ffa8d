// Memory map, CPUID and MSRs of a domain, in the order in which they need each other.
#include "toolstack/plan.hpp"

namespace cloister::toolstack {

namespace {

constexpr u64 mib = 1 << 20;

using Failed = tl::unexpected<Diagnostic>;

Failed at_key(const DomainConfig& config, std::string_view key, const std::string& message) {
  return Failed(Diagnostic{config.position_of(key), std::string("'").append(key).append("': ").append(message)});
}

policy::MsrPolicy make_msr_policy(const DomainConfig& config, const policy::CpuidTable& cpuid) {
  const auto has = [&](std::string_view name) { return policy::has(cpuid, *policy::find_feature(name)); };
  policy::MsrPolicy msr;
  msr.sgx = has("sgx");
  msr.launch_control = has("sgxlc");
  msr.lepubkeyhash_writable = config.lewr;
  if (config.lehash) msr.lepubkeyhash = *config.lehash;
  return msr;
}

}  // namespace

tl::expected<DomainPlan, Diagnostic> make_plan(const DomainConfig& config,
                                               const std::function<arch::CpuidRegs(u32, u32)>& raw,
                                               const DescribedSilicon& silicon) {
  DomainPlan plan{.config = config, .silicon = silicon, .map = {}, .cpuid = {}, .msr = {}};
  const unsigned physical_bits = raw(arch::leaf::address_sizes, 0).eax & 0xff;
  auto map = platform::make_memory_map(config.memory_mib * mib, config.epc_mib * mib, physical_bits);
  if (!map) return at_key(config, config.epc_mib != 0 ? "epc" : "memory", map.error());
  plan.map = std::move(*map);

  policy::CpuidRequest request;
  request.vcpus = config.vcpus;
  request.overrides = config.cpuid;
  for (const platform::EpcRange& range : plan.map.epc) request.epc.push_back({range.base.value, range.bytes});
  auto cpuid = policy::domain_cpuid(raw, request);
  if (!cpuid) return at_key(config, config.cpuid.empty() ? "epc" : "cpuid", cpuid.error());
  plan.cpuid = std::move(*cpuid);
  constexpr u32 sgx_lc = 1 << 30;
  if (config.lehash && config.epc_mib != 0 && (raw(arch::leaf::features, 0).ecx & sgx_lc) == 0) {
    return at_key(config, "lehash", "the processor has no launch control (sgxlc), and its hash is Intel's");
  }
  plan.msr = make_msr_policy(config, plan.cpuid);
  return plan;
}

}  // namespace cloister::toolstack
