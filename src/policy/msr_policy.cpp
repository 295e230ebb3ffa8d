// IA32_FEATURE_CONTROL as firmware would have left it (SDM vol. 3D, 37.7.1; vol. 4, table 2-2): always locked.
#include "policy/policy.hpp"

namespace cloister::policy {

u64 MsrPolicy::feature_control() const {
  namespace bits = arch::msr::feature_control_bits;
  if (!sgx) return bits::lock;
  // With the lock set, bit 17 is what makes IA32_SGXLEPUBKEYHASHn writable; read-only hashes mean that it is clear.
  const bool writable = launch_control && lepubkeyhash_writable;
  return bits::lock | bits::sgx_enable | (writable ? bits::sgx_launch_control : 0);
}

}  // namespace cloister::policy
