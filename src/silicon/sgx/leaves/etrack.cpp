// ENCLS[ETRACK] and ENCLS[ETRACKC] (SDM vol. 3D, 38.3): start a tracking cycle of an enclave, named by its SECS or by
// any of its pages (tracking.hpp).
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {

/// The caller holds the SECS's tracking facility.
LeafResult track(LeafContext& ctx, u32 secs_index) {
  MutexLock guard(ctx.package.mutex());
  // Threads of the cycle before are still inside.
  if (!fails("ETRACK.previous_cycle", !start_tracking(ctx.epcm(secs_index)))) return success();
  guard.unlock();
  return ctx.cannot_track(secs_index, SgxConflict::tracking_reference, failure(SgxError::prev_trk_incmpl));
}

}  // namespace

LeafResult etrack(LeafContext& ctx) {
  const u64 rcx = ctx.rcx();
  TRY(ctx.aligned(rcx, arch::page_size, "ETRACK.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "ETRACK.rcx_epc"));
  EpcmEntry& secs = ctx.epcm(index);
  const Held lock(secs.lock, LockMode::shared);
  if (fails("ETRACK.rcx_busy", !lock)) return leaf_gp();
  const Held facility(secs.track_lock, LockMode::exclusive);
  if (fails("ETRACK.facility", !facility)) return ctx.cannot_track(index, SgxConflict::tracking_resource, leaf_gp());
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("ETRACK.rcx_valid", !secs.valid)) return ctx.epc_fault(rcx);
    if (fails("ETRACK.rcx_type", secs.type != PageType::secs)) return ctx.epc_fault(rcx);
  }
  return track(ctx, index);
}

LeafResult etrackc(LeafContext& ctx) {
  const u64 rcx = ctx.rcx();
  TRY(ctx.aligned(rcx, arch::page_size, "ETRACKC.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "ETRACKC.rcx_epc"));
  EpcmEntry& page = ctx.epcm(index);
  // A child that is held keeps its SECS where it is.
  const Held lock(page.lock, LockMode::shared);
  if (fails("ETRACKC.rcx_busy", !lock)) return failure(SgxError::epc_page_conflict);
  u32 secs_index = index;
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("ETRACKC.rcx_valid", !page.valid)) return failure(SgxError::pg_invld);
    if (has_owner(page.type)) {
      secs_index = page.secs;
    } else if (fails("ETRACKC.required", page.type != PageType::secs)) {
      return failure_cf(SgxError::track_not_required);
    }
  }
  const Held facility(ctx.epcm(secs_index).track_lock, LockMode::exclusive);
  if (fails("ETRACKC.facility", !facility)) {
    return ctx.cannot_track(secs_index, SgxConflict::tracking_resource, failure(SgxError::epc_page_conflict));
  }
  return track(ctx, secs_index);
}

}  // namespace cloister::silicon
