// ENCLU[EACCEPTCOPY] (SDM vol. 3D, 38.4): fills a page that EAUG has added from one that the enclave has, and accepts
// it with the permissions asked for.
#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/own_page.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;
namespace f = arch::secinfo_flags;

LeafResult eacceptcopy(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx(), rdx = ctx.rdx();
  TRY(ctx.aligned(rbx, sizeof(arch::Secinfo), "EACCEPTCOPY.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EACCEPTCOPY.rcx_aligned"));
  TRY(ctx.aligned(rdx, arch::page_size, "EACCEPTCOPY.rdx_aligned"));
  TRY(ctx.in_elrange(rbx, sizeof(arch::Secinfo), "EACCEPTCOPY.rbx_elrange"));
  TRY(ctx.in_elrange(rcx, arch::page_size, "EACCEPTCOPY.rcx_elrange"));
  TRY(ctx.in_elrange(rdx, arch::page_size, "EACCEPTCOPY.rdx_elrange"));
  const auto secinfo_page = TRY(ctx.epc(rbx, Access::read, "EACCEPTCOPY.rbx_epc"));
  const auto to = TRY(ctx.epc(rcx, Access::write, "EACCEPTCOPY.rcx_epc"));
  const auto from = TRY(ctx.epc(rdx, Access::read, "EACCEPTCOPY.rdx_epc"));

  const auto secinfo = TRY(own_secinfo(ctx, secinfo_page, rbx, "EACCEPTCOPY.rbx"));
  if (fails("EACCEPTCOPY.secinfo_reserved", !reserved_clear(secinfo)) ||
      fails("EACCEPTCOPY.write_only", (secinfo.flags & (f::r | f::w)) == f::w) ||
      fails("EACCEPTCOPY.page_type", secinfo.type() != PageType::reg)) {
    return leaf_gp();
  }
  TRY(ctx.enclave_page(from, rdx, Access::read, "EACCEPTCOPY.rdx"));

  EpcmEntry& page = ctx.epcm(to);
  const auto waits = [&] {
    return !fails("EACCEPTCOPY.rcx_valid", !page.valid) && !fails("EACCEPTCOPY.rcx_pending", !page.pending) &&
           !fails("EACCEPTCOPY.rcx_modified", page.modified) && !fails("EACCEPTCOPY.rcx_blocked", page.blocked) &&
           !fails("EACCEPTCOPY.rcx_type", page.type != PageType::reg) &&
           !fails("EACCEPTCOPY.rcx_owner", page.secs != ctx.cpu().enclave.secs);
  };
  {
    const MutexLock guard(ctx.package.mutex());
    if (!waits()) return failure(SgxError::page_attributes_mismatch);
  }
  const Held change(page.sgx2_lock, LockMode::exclusive);
  if (fails("EACCEPTCOPY.changing", !change)) return leaf_gp();
  {
    const MutexLock guard(ctx.package.mutex());
    if (!waits() || fails("EACCEPTCOPY.rcx_rights", rights_of(page) != (f::r | f::w)) ||
        fails("EACCEPTCOPY.rcx_address", page.enclave_address != rcx)) {
      return failure(SgxError::page_attributes_mismatch);
    }
  }
  // While it is pending nobody can look at it, and its group's lock keeps EACCEPT away.
  ctx.touch(to);
  copy_guest(ctx.package.page(to), ctx.package.page(from), arch::page_size);
  const MutexLock guard(ctx.package.mutex());
  set_rights(page, secinfo.flags);
  page.pending = false;
  return success();
}

}  // namespace cloister::silicon
