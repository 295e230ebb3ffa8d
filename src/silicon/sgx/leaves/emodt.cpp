// ENCLS[EMODT] (SDM vol. 3D, 38.3): makes a page a TCS or trims it; done when the enclave accepts it.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {
constexpr bool may_become(PageType from, PageType to) {
  if (to == PageType::trim) return from != PageType::trim && has_owner(from);
  return from == PageType::reg;
}
}  // namespace

LeafResult emodt(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Secinfo), "EMODT.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EMODT.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EMODT.rcx_epc"));
  const auto secinfo = TRY(ctx.read_as<arch::Secinfo>(rbx));
  const PageType to = secinfo.type();
  if (fails("EMODT.secinfo_reserved", !reserved_clear(secinfo))) return leaf_gp();
  if (fails("EMODT.page_type", to != PageType::tcs && to != PageType::trim)) return leaf_gp();

  EpcmEntry& page = ctx.epcm(index);
  const Held lock(page.lock, LockMode::exclusive);
  if (fails("EMODT.rcx_busy", !lock)) return ctx.busy(rcx, SgxConflict::page_error);
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EMODT.rcx_valid", !page.valid)) return ctx.epc_fault(rcx);
  }
  const Held change(page.sgx2_lock, LockMode::exclusive);
  if (fails("EMODT.changing", !change)) return failure(SgxError::epc_page_conflict);

  const MutexLock guard(ctx.package.mutex());
  if (fails("EMODT.rcx_type", !may_become(page.type, to))) return ctx.epc_fault(rcx);
  if (fails("EMODT.pending", page.pending)) return failure(SgxError::page_not_modifiable);
  if (fails("EMODT.modified", page.modified)) return failure(SgxError::page_not_modifiable);
  if (fails("EMODT.initialised", !ctx.secs(page.secs).initialised())) return leaf_gp();
  page.type = to;
  page.modified = true;
  page.permission_restricted = false;
  set_rights(page, 0);
  page.epoch = ctx.epcm(page.secs).epoch;
  return success();
}

}  // namespace cloister::silicon
