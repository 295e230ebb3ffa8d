// What a domain's CPUID policy is made from, by the names that Xen has for the stages.
#include "policy/dependence.hpp"
#include "policy/leaves.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

CpuidTable raw_cpuid(const std::function<CpuidRegs(u32, u32)>& raw) { return read_processor(raw); }

CpuidTable host_cpuid(const std::function<CpuidRegs(u32, u32)>& raw) {
  CpuidTable table = read_processor(raw);
  clear_dependents(table);
  return table;
}

/// A domain with EPC has all of SGX that it asks for.
tl::expected<CpuidTable, std::string> maximum_cpuid(const std::function<CpuidRegs(u32, u32)>& raw, u32 vcpus) {
  CpuidRequest request;
  request.vcpus = vcpus;
  constexpr u32 type = 0xf, epc_section = 1, low = 0xffff'f000, high = 0xf'ffff;
  for (u32 subleaf = 2;; ++subleaf) {
    const CpuidRegs r = raw(arch::leaf::sgx, subleaf);
    if ((r.eax & type) != epc_section) break;
    request.epc.push_back({u64{r.ebx & high} << 32 | (r.eax & low), u64{r.edx & high} << 32 | (r.ecx & low)});
  }
  const CpuidTable host = host_cpuid(raw);
  for (const Feature& feature : features()) {
    if (feature.leaf == arch::leaf::sgx && !request.epc.empty() && has(host, feature))
      request.overrides.push_back({std::string(feature.name), true});
  }
  return domain_cpuid(raw, request);
}

}  // namespace cloister::policy
