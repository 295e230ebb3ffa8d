// ENCLS[ERDINFO] (SDM vol. 3D, 38.3): what the EPCM says of a page, for a hypervisor that did not follow its guest.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/virtualization.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

LeafResult erdinfo(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Rdinfo), "ERDINFO.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "ERDINFO.rcx_aligned"));
  const auto index = TRY(ctx.epc_or_not(rcx, Access::read));
  if (fails("ERDINFO.rcx_epc", !index)) return failure_cf(SgxError::pg_nonepc);
  const u32 at = index.value_or(0);
  const EpcmEntry& page = ctx.epcm(at);
  const Held lock(ctx.epcm(at).lock, LockMode::shared);
  if (fails("ERDINFO.rcx_busy", !lock)) return failure(SgxError::epc_page_conflict);

  arch::Rdinfo info{};
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("ERDINFO.rcx_valid", !page.valid)) return failure_cf(SgxError::pg_invld);
    info.flags = secinfo_flags_of(page) | (page.blocked ? arch::rdinfo::blocked : 0);
    if (has_owner(page.type)) {
      info.enclavecontext = ctx.secs(page.secs).live().enclavecontext;
    } else if (page.type == PageType::secs) {
      if (child_present(ctx, at, "ERDINFO.page")) info.status = arch::rdinfo::child_present;
      // To a guest virtual children are children, if the extensions are on, and its own name of the SECS is its affair.
      if (ctx.root()) {
        const SecsInternal& own = ctx.secs(at).live();
        if (own.virtchildcnt != 0) info.status |= arch::rdinfo::virtual_child_present;
        info.enclavecontext = own.enclavecontext;
      }
    }
  }
  TRY(ctx.write(rbx, &info, sizeof info));
  return success();
}

}  // namespace cloister::silicon
