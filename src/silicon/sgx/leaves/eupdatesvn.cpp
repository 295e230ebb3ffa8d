// ENCLS[EUPDATESVN]: CPUSVN becomes that of the microcode that runs, without a restart, when no page of the EPC is
// valid (Intel 648682, "Runtime Microcode Updates with Intel Software Guard Extensions"). The pages' key is a new one,
// whether CPUSVN changes or not; CF says that it did not. No other leaf runs meanwhile (leaf_table.hpp).
#include <bit>

#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::SgxError;

LeafResult eupdatesvn(LeafContext& ctx) {
  const MutexLock guard(ctx.package.mutex());
  bool empty = true;
  ctx.package.memory().impl().for_each_used([&](const EpcmEntry& page) { empty = empty && !page.valid; });
  if (fails("EUPDATESVN.epc_ready", !empty)) return failure(SgxError::epc_not_ready);
  // There are always random numbers: nobody sees SGX_INSUFFICIENT_ENTROPY.
  const std::array<u64, 2> random{ctx.cpu().vcpu->random(), ctx.cpu().vcpu->random()};
  if (!ctx.package.keys().update(std::bit_cast<arch::Bytes16>(random))) return failure_cf(SgxError::no_update);
  return success();
}

}  // namespace cloister::silicon
