// ENCLS[EREMOVE] (SDM vol. 3D, 38.3): takes a page out of its enclave.
#include "arch/try.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {

/// After the operand's checks; the caller holds the page's lock.
SgxError remove_page(PackageImpl& package, u32 index) CLOISTER_REQUIRES(package.mutex()) {
  if (package.faulty(index)) return SgxError::enclave_act;
  EpcmEntry& page = package.epcm(index);
  if (!page.valid) return SgxError::success;
  if (page.type == PageType::va) {
    page.valid = false;
    return SgxError::success;
  }
  if (page.type == PageType::secs) {
    if (fails("EREMOVE.children", page.children != 0)) return SgxError::child_present;
    page.valid = false;
    return SgxError::success;
  }
  EpcmEntry& secs = package.epcm(page.secs);
  // A trimmed page that was accepted needs no check of the enclave's threads.
  const bool trimmed = page.type == PageType::trim && !page.modified;
  if (fails("EREMOVE.threads", !trimmed && threads_active(secs))) return SgxError::enclave_act;
  page.valid = false;
  --secs.children;
  return SgxError::success;
}

}  // namespace

LeafResult eremove(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  TRY(ctx.aligned(linear, arch::page_size, "EREMOVE.rcx_aligned"));
  const auto index = TRY(ctx.epc(linear, Access::write, "EREMOVE.rcx_epc"));
  const Held held(ctx.epcm(index).lock, LockMode::exclusive);
  if (fails("EREMOVE.rcx_busy", !held)) return ctx.busy(linear, SgxConflict::page_exception);

  const MutexLock guard(ctx.package.mutex());
  const EpcmEntry& page = ctx.epcm(index);
  // Children that the hypervisor has evicted keep a SECS too.
  const bool virtual_children =
      page.valid && page.type == PageType::secs && ctx.epc_virtualization() && ctx.secs(index).live().virtchildcnt != 0;
  if (fails("EREMOVE.virtual_children", virtual_children)) return failure(SgxError::child_present);
  const SgxError error = remove_page(ctx.package, index);
  return error == SgxError::success ? success() : failure(error);
}

}  // namespace cloister::silicon
