// IA32_FEATURE_CONTROL as firmware would have left it (SDM vol. 3D, 37.7.1; vol. 4, table 2-2), always locked, and what
// a domain may have of the machine's launch control.
#include "policy/policy.hpp"

namespace cloister::policy {

u64 MsrPolicy::feature_control() const {
  namespace bits = arch::msr::feature_control_bits;
  if (!sgx) return bits::lock;
  // With the lock set, bit 17 is what makes IA32_SGXLEPUBKEYHASHn writable; read-only hashes mean that it is clear.
  const bool writable = launch_control && lepubkeyhash_writable;
  return bits::lock | bits::sgx_enable | (writable ? bits::sgx_launch_control : 0);
}

tl::expected<MsrPolicy, LaunchRefusal> domain_msrs(const MsrPolicy& machine, const CpuidTable& cpuid,
                                                   const LaunchRequest& request) {
  using Asked = LaunchRefusal::Asked;
  MsrPolicy domain;
  domain.sgx = machine.sgx && has(cpuid, *find_feature("sgx"));
  // Without SGX nobody sees a hash.
  if (!domain.sgx) return domain;
  domain.launch_control = has(cpuid, *find_feature("sgxlc"));
  const bool writable = machine.launch_control && machine.lepubkeyhash_writable;
  domain.lepubkeyhash_writable = writable && request.writable.value_or(true);
  domain.lepubkeyhash = writable ? arch::msr::intel_lepubkeyhash : machine.lepubkeyhash;

  if (request.hash && !machine.launch_control) {
    return tl::unexpected(
        LaunchRefusal{Asked::hash, "the processor has no launch control (sgxlc), and its hash is Intel's"});
  }
  if (request.hash && !writable && *request.hash != machine.lepubkeyhash) {
    const bool intel = machine.lepubkeyhash == arch::msr::intel_lepubkeyhash;
    return tl::unexpected(LaunchRefusal{Asked::hash, std::string("the machine's launch-key hash is ") +
                                                         (intel ? "Intel's" : "another one") +
                                                         ", and firmware locked it"});
  }
  if (request.writable == true && machine.launch_control && !writable) {
    return tl::unexpected(
        LaunchRefusal{Asked::writable, "the machine's firmware locked the launch-key hash, so no domain can write it"});
  }
  if (request.hash) domain.lepubkeyhash = *request.hash;
  return domain;
}

}  // namespace cloister::policy
