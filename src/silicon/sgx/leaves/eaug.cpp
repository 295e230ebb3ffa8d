// ENCLS[EAUG] (SDM vol. 3D, 38.3): adds a zeroed page to an initialised enclave, pending until the enclave accepts it.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

LeafResult eaug(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Pageinfo), "EAUG.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EAUG.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EAUG.rcx_epc"));

  const auto info = TRY(ctx.read_as<arch::Pageinfo>(rbx));
  const u64 secs_at = ctx.linear(info.secs), secinfo_at = ctx.linear(info.secinfo);
  if (info.secinfo != 0) {
    TRY(ctx.aligned(secinfo_at, sizeof(arch::Secinfo), "EAUG.secinfo_aligned"));
  }
  TRY(ctx.aligned(secs_at, arch::page_size, "EAUG.secs_aligned"));
  if (fails("EAUG.linaddr_aligned", arch::page_offset(info.linaddr) != 0)) return leaf_gp();
  if (fails("EAUG.srcpge", info.srcpge != 0)) return leaf_gp();
  const auto secs_index = TRY(ctx.epc(secs_at, Access::write, "EAUG.secs_epc"));

  EpcmEntry& page = ctx.epcm(index);
  EpcmEntry& secs = ctx.epcm(secs_index);
  const Held lock(page.lock, LockMode::exclusive);
  if (fails("EAUG.rcx_busy", !lock)) return ctx.busy(rcx, SgxConflict::page_exception);
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EAUG.rcx_free", page.valid)) return ctx.epc_fault(rcx);
  }
  if (info.secinfo != 0) {
    // A SECINFO is for shadow stacks, which need CET; this processor has none.
    TRY(ctx.read_as<arch::Secinfo>(secinfo_at));
    if (fails("EAUG.secinfo", true)) return leaf_gp();
  }
  const Held secs_lock(secs.lock, LockMode::shared);
  if (fails("EAUG.secs_busy", !secs_lock)) return leaf_gp();
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EAUG.secs_valid", !secs.valid)) return ctx.epc_fault(secs_at);
    if (fails("EAUG.secs_type", secs.type != arch::PageType::secs)) return ctx.epc_fault(secs_at);
    const SecsPage& enclave = ctx.secs(secs_index);
    if (fails("EAUG.initialised", !enclave.initialised())) return leaf_gp();
    const arch::Secs& range = enclave.architectural;
    if (fails("EAUG.elrange", info.linaddr - range.base >= range.size)) return leaf_gp();
  }

  ctx.touch(index);
  std::memset(ctx.package.page(index), 0, arch::page_size);
  namespace f = arch::secinfo_flags;
  constexpr u64 flags = f::r | f::w | f::pending | (u64{static_cast<u8>(arch::PageType::reg)} << f::page_type_shift);
  const MutexLock guard(ctx.package.mutex());
  claim_page(page, flags, info.linaddr, secs_index);
  ++secs.children;
  return LeafDone{};
}

}  // namespace cloister::silicon
