// ENCLU[EACCEPT] (SDM vol. 3D, 38.4): the enclave agrees to what the system did to one of its pages.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/sgx/own_page.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;
namespace f = arch::secinfo_flags;

namespace {

/// What can be accepted: an added or restricted page, a changed type, an added shadow stack (which needs CET).
bool acceptable(const arch::Secinfo& secinfo) {
  const bool pending = (secinfo.flags & f::pending) != 0, modified = (secinfo.flags & f::modified) != 0,
             restricted = (secinfo.flags & f::pr) != 0;
  switch (secinfo.type()) {
    case PageType::reg: return (restricted || pending) && !modified;
    case PageType::tcs:
    case PageType::trim: return modified && !pending && !restricted;
    default: return false;
  }
}

/// A page that becomes a TCS holds what its last owner wrote.
bool valid_tcs(const arch::Tcs& tcs, bool mode64) {
  if (fails("EACCEPT.tcs_reserved", !all_zero(tcs.reserved))) return false;
  if (fails("EACCEPT.tcs_flags", (tcs.flags & ~arch::tcs_flags::defined) != 0)) return false;
  if (fails("EACCEPT.tcs_dbgoptin", (tcs.flags & arch::tcs_flags::dbgoptin) != 0)) return false;
  if (fails("EACCEPT.tcs_cssa", tcs.cssa >= tcs.nssa)) return false;
  if (fails("EACCEPT.tcs_aep", tcs.aep != 0) || fails("EACCEPT.tcs_state", tcs.state != 0)) return false;
  if (mode64) return true;
  return !fails("EACCEPT.tcs_fslimit", (tcs.fslimit & 0xfff) != 0xfff) &&
         !fails("EACCEPT.tcs_gslimit", (tcs.gslimit & 0xfff) != 0xfff);
}

}  // namespace

LeafResult eaccept(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, sizeof(arch::Secinfo), "EACCEPT.rbx_aligned"));
  TRY(ctx.in_elrange(rbx, sizeof(arch::Secinfo), "EACCEPT.rbx_elrange"));
  const auto secinfo_page = TRY(ctx.epc(rbx, Access::read, "EACCEPT.rbx_epc"));
  const auto secinfo = TRY(own_secinfo(ctx, secinfo_page, rbx, "EACCEPT.rbx"));
  if (fails("EACCEPT.secinfo_reserved", !reserved_clear(secinfo))) return leaf_gp();
  TRY(ctx.aligned(rcx, arch::page_size, "EACCEPT.rcx_aligned"));
  TRY(ctx.in_elrange(rcx, arch::page_size, "EACCEPT.rcx_elrange"));
  const auto index = TRY(ctx.epc(rcx, Access::read, "EACCEPT.rcx_epc"));
  if (fails("EACCEPT.combination", !acceptable(secinfo))) return leaf_gp();

  EpcmEntry& page = ctx.epcm(index);
  const auto ours = [&] {
    return !fails("EACCEPT.rcx_valid", !page.valid) && !fails("EACCEPT.rcx_blocked", page.blocked) &&
           !fails("EACCEPT.rcx_type", !has_owner(page.type)) &&
           !fails("EACCEPT.rcx_owner", page.secs != ctx.cpu().enclave.secs);
  };
  {
    const MutexLock guard(ctx.package.mutex());
    if (!ours()) return ctx.epc_fault(rcx, Access::read);
  }
  const Held lock(page.lock, LockMode::shared);
  if (fails("EACCEPT.rcx_busy", !lock)) return leaf_gp();
  const Held change(page.sgx2_lock, LockMode::exclusive);
  if (fails("EACCEPT.changing", !change)) return leaf_gp();

  const MutexLock guard(ctx.package.mutex());
  if (!ours()) return ctx.epc_fault(rcx, Access::read);
  // PR is not compared: the enclave may learn of the restriction from the permissions.
  const u64 difference = secinfo_flags_of(page) ^ secinfo.flags;
  if (fails("EACCEPT.address", page.enclave_address != rcx) ||
      fails("EACCEPT.pending", (difference & f::pending) != 0) ||
      fails("EACCEPT.modified", (difference & f::modified) != 0) ||
      fails("EACCEPT.rights", (difference & f::rwx) != 0) ||
      fails("EACCEPT.page_type", (difference & f::page_type) != 0)) {
    return failure(SgxError::page_attributes_mismatch);
  }
  const bool needs_tracking = page.modified || page.permission_restricted;
  if (fails("EACCEPT.tracked", needs_tracking && !is_tracked(ctx.epcm(page.secs), page))) {
    return failure(SgxError::not_tracked);
  }
  if (page.type == PageType::tcs) {
    const u64 attributes = ctx.secs(page.secs).architectural.attributes.flags;
    const auto& tcs = *reinterpret_cast<const arch::Tcs*>(ctx.package.page(index));
    if (!valid_tcs(tcs, (attributes & arch::attributes::mode64bit) != 0)) return leaf_gp();
  }
  page.pending = page.modified = page.permission_restricted = false;
  return success();
}

}  // namespace cloister::silicon
