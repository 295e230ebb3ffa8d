// Pages as the SGX2 leaves of ENCLU see them from inside the enclave (SDM vol. 3D, 38.4: EACCEPT, EACCEPTCOPY,
// EMODPE).
#pragma once

#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

/// The SECINFO operand: a readable regular page of this enclave. `index`: the EPC page that `linear` names, in ELRANGE.
inline tl::expected<arch::Secinfo, Miss> own_secinfo(LeafContext& ctx, u32 index, u64 linear, const char* check) {
  TRY(ctx.enclave_page(index, linear, Access::read, check));
  arch::Secinfo secinfo;
  copy_guest(&secinfo, ctx.package.page(index) + arch::page_offset(linear), sizeof secinfo);
  return secinfo;
}

/// A regular page of this enclave at its place, which nothing is being done to.
inline bool settled_page(const LeafContext& ctx, const EpcmEntry& page, u64 linear, const char* check)
    CLOISTER_REQUIRES(ctx.package.mutex()) {
  return !fails(check, ".valid", !page.valid) && !fails(check, ".blocked", page.blocked) &&
         !fails(check, ".pending", page.pending) && !fails(check, ".modified", page.modified) &&
         !fails(check, ".type", page.type != arch::PageType::reg) &&
         !fails(check, ".owner", page.secs != ctx.cpu().enclave.secs) &&
         !fails(check, ".address", page.enclave_address != linear);
}

}  // namespace cloister::silicon
