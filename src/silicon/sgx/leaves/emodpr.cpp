// ENCLS[EMODPR] (SDM vol. 3D, 38.3): takes permissions from a page; done when the enclave accepts it.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::SgxError;
namespace f = arch::secinfo_flags;

LeafResult emodpr(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Secinfo), "EMODPR.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EMODPR.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EMODPR.rcx_epc"));
  const auto secinfo = TRY(ctx.read_as<arch::Secinfo>(rbx));
  if (fails("EMODPR.secinfo_reserved", !reserved_clear(secinfo))) return leaf_gp();
  if (fails("EMODPR.write_only", (secinfo.flags & (f::r | f::w)) == f::w)) return leaf_gp();

  EpcmEntry& page = ctx.epcm(index);
  const Held lock(page.lock, LockMode::shared);
  if (fails("EMODPR.rcx_busy", !lock)) return leaf_gp();
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EMODPR.rcx_valid", !page.valid)) return ctx.epc_fault(rcx);
  }
  const Held change(page.sgx2_lock, LockMode::exclusive);
  if (fails("EMODPR.changing", !change)) return failure(SgxError::epc_page_conflict);

  const MutexLock guard(ctx.package.mutex());
  if (fails("EMODPR.pending", page.pending)) return failure(SgxError::page_not_modifiable);
  if (fails("EMODPR.modified", page.modified)) return failure(SgxError::page_not_modifiable);
  if (fails("EMODPR.rcx_type", page.type != arch::PageType::reg)) return ctx.epc_fault(rcx);
  if (fails("EMODPR.initialised", !ctx.secs(page.secs).initialised())) return leaf_gp();
  page.permission_restricted = true;
  set_rights(page, rights_of(page) & secinfo.flags);
  page.epoch = ctx.epcm(page.secs).epoch;
  return success();
}

}  // namespace cloister::silicon
