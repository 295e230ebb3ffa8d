// ENCLS[EPA] (SDM vol. 3D, 38.3): makes an empty version array, the place of the versions of evicted pages.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

LeafResult epa(LeafContext& ctx) {
  const u64 rcx = ctx.rcx();
  if (fails("EPA.rbx", ctx.reg(arch::rbx) != static_cast<u64>(arch::PageType::va))) return leaf_gp();
  TRY(ctx.aligned(rcx, arch::page_size, "EPA.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EPA.rcx_epc"));
  EpcmEntry& page = ctx.epcm(index);
  const Held lock(page.lock, LockMode::exclusive);
  if (fails("EPA.rcx_busy", !lock)) return ctx.busy(rcx, SgxConflict::page_exception);
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EPA.rcx_free", page.valid)) return ctx.epc_fault(rcx);
  }
  ctx.touch(index);
  std::memset(ctx.package.page(index), 0, arch::page_size);
  const MutexLock guard(ctx.package.mutex());
  claim_page(page, u64{static_cast<u8>(arch::PageType::va)} << arch::secinfo_flags::page_type_shift, 0);
  return LeafDone{};
}

}  // namespace cloister::silicon
