// ENCLV (SDM vol. 3D, 38.5): a hypervisor's counts of the pages that it has evicted itself, and its name for a SECS.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {

/// EDECVIRTCHILD and EINCVIRTCHILD: RBX is a page of the enclave whose SECS is RCX.
LeafResult count_child(LeafContext& ctx, bool more) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx();
  TRY(ctx.aligned(rbx, arch::page_size, "VIRTCHILD.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "VIRTCHILD.rcx_aligned"));
  const auto index = TRY(ctx.epc(rbx, Access::read, "VIRTCHILD.rbx_epc"));
  const auto secs_index = TRY(ctx.epc(rcx, Access::write, "VIRTCHILD.rcx_epc"));
  EpcmEntry& page = ctx.epcm(index);
  const Held lock(page.lock, LockMode::shared);
  if (fails("VIRTCHILD.rbx_busy", !lock)) return failure(SgxError::epc_page_conflict);

  const MutexLock guard(ctx.package.mutex());
  if (fails("VIRTCHILD.rbx_valid", !page.valid) ||
      fails("VIRTCHILD.rbx_type", !has_owner(page.type) && page.type != PageType::secs)) {
    return ctx.epc_fault(rbx, Access::read);
  }
  const u32 owner = page.type == PageType::secs ? index : page.secs;
  if (fails("VIRTCHILD.owner", owner != secs_index)) return leaf_gp();
  u64& count = ctx.secs(owner).live().virtchildcnt;
  if (fails("VIRTCHILD.counter", !more && count == 0)) return failure(SgxError::invalid_counter);
  more ? ++count : --count;
  return success();
}

}  // namespace

LeafResult edecvirtchild(LeafContext& ctx) { return count_child(ctx, false); }
LeafResult eincvirtchild(LeafContext& ctx) { return count_child(ctx, true); }

LeafResult esetcontext(LeafContext& ctx) {
  const u64 rcx = ctx.rcx(), rdx = ctx.rdx();
  TRY(ctx.aligned(rcx, arch::page_size, "ESETCONTEXT.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "ESETCONTEXT.rcx_epc"));
  TRY(ctx.aligned(rdx, sizeof(u64), "ESETCONTEXT.rdx_aligned"));
  EpcmEntry& secs = ctx.epcm(index);
  const Held lock(secs.lock, LockMode::shared);
  if (fails("ESETCONTEXT.rcx_busy", !lock)) return failure(SgxError::epc_page_conflict);
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("ESETCONTEXT.rcx_valid", !secs.valid)) return ctx.epc_fault(rcx);
    if (fails("ESETCONTEXT.rcx_type", secs.type != PageType::secs)) return ctx.epc_fault(rcx);
  }
  const auto context = TRY(ctx.read_as<u64>(rdx));
  const MutexLock guard(ctx.package.mutex());
  ctx.secs(index).live().enclavecontext = context;
  return success();
}

}  // namespace cloister::silicon
