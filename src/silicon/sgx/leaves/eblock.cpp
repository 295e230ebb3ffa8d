// ENCLS[EBLOCK] (SDM vol. 3D, 38.3): no new translations to the page; those that exist die as their threads leave.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::SgxError;

LeafResult eblock(LeafContext& ctx) {
  const u64 rcx = ctx.rcx();
  TRY(ctx.aligned(rcx, arch::page_size, "EBLOCK.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EBLOCK.rcx_epc"));
  EpcmEntry& page = ctx.epcm(index);
  const Held lock(page.lock, LockMode::shared);
  if (fails("EBLOCK.rcx_busy", !lock)) return failure(SgxError::epc_page_conflict);

  const MutexLock guard(ctx.package.mutex());
  if (fails("EBLOCK.rcx_valid", !page.valid)) return failure(SgxError::pg_invld);
  if (fails("EBLOCK.secs", page.type == arch::PageType::secs)) return failure_cf(SgxError::pg_is_secs);
  if (fails("EBLOCK.blockable", !has_owner(page.type))) return failure_cf(SgxError::notblockable);
  if (fails("EBLOCK.blocked", page.blocked)) return failure_cf(SgxError::blkstate);
  page.blocked = true;
  page.epoch = ctx.epcm(page.secs).epoch;
  return success();
}

}  // namespace cloister::silicon
