// ENCLU[EMODPE] (SDM vol. 3D, 38.4): the enclave gives more permissions to one of its pages.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/own_page.hpp"

namespace cloister::silicon {

namespace f = arch::secinfo_flags;

LeafResult emodpe(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Secinfo), "EMODPE.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EMODPE.rcx_aligned"));
  TRY(ctx.in_elrange(rbx, sizeof(arch::Secinfo), "EMODPE.rbx_elrange"));
  TRY(ctx.in_elrange(rcx, arch::page_size, "EMODPE.rcx_elrange"));
  const auto secinfo_page = TRY(ctx.epc(rbx, Access::read, "EMODPE.rbx_epc"));
  const auto index = TRY(ctx.epc(rcx, Access::read, "EMODPE.rcx_epc"));
  const auto secinfo = TRY(own_secinfo(ctx, secinfo_page, rbx, "EMODPE.rbx"));
  if (fails("EMODPE.secinfo_reserved", !reserved_clear(secinfo))) return leaf_gp();

  EpcmEntry& page = ctx.epcm(index);
  {
    const MutexLock guard(ctx.package.mutex());
    if (!settled_page(ctx, page, rcx, "EMODPE.rcx")) return ctx.epc_fault(rcx, Access::read);
  }
  const Held change(page.sgx2_lock, LockMode::exclusive);
  if (fails("EMODPE.changing", !change)) return leaf_gp();

  const MutexLock guard(ctx.package.mutex());
  if (!settled_page(ctx, page, rcx, "EMODPE.rcx")) return ctx.epc_fault(rcx, Access::read);
  const u64 rights = rights_of(page) | (secinfo.flags & f::rwx);
  if (fails("EMODPE.write_only", (rights & (f::r | f::w)) == f::w)) return leaf_gp();
  set_rights(page, rights);
  return LeafDone{};
}

}  // namespace cloister::silicon
