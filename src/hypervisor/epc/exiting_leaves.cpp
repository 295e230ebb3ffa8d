// A domain whose EPC is not paged by trapping, and which may have the provisioning key, has none but the hidden ones:
// its ENCLS never exits.
#include "hypervisor/epc/exiting_leaves.hpp"

#include "vmx/features.hpp"

namespace cloister::hypervisor {
namespace {

using enum arch::EnclsLeaf;

constexpr u64 taking_a_page = vmx::leaf_bits(ecreate, eadd, eremove, eldb, eldu, epa, ewb, eaug, emodt, eldbc, elduc);

}  // namespace

u64 hidden_leaves_of(const DomainSpec& spec) {
  if (spec.map.epc.empty()) return ~u64{0};
  u64 hidden = 0;
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    if (!arch::has(spec.cpuid.get(row.bit.leaf, row.bit.subleaf), row.bit)) hidden |= row.encls;
  }
  return hidden;
}

u64 trapped_leaves(const Machine& machine) {
  if (machine.pager == nullptr || machine.pager->mode() != PagingMode::trap) return 0;
  return (taking_a_page | vmx::leaf_bits(erdinfo)) & ~machine.hidden_leaves;
}

u64 exiting_leaves(const Machine& machine) {
  const u64 provisioning = machine.spec.sgx_provision ? 0 : vmx::leaf_bits(ecreate);
  return machine.hidden_leaves | trapped_leaves(machine) | provisioning;
}

bool meets_root_leaves(const Machine& machine) {
  if (machine.spec.map.epc.empty() || !machine.package.capabilities().epc_virtualization) return false;
  if (machine.pager != nullptr) return machine.pager->mode() == PagingMode::oss;
  return (exiting_leaves(machine) & vmx::leaf_bits(ecreate)) != 0;
}

}  // namespace cloister::hypervisor
