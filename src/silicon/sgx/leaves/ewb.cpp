// ENCLS[EWB] (SDM vol. 3D, 38.3): evicts a page from the EPC, encrypted, and leaves its version in a version array.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/sgx/keys/paging_crypto.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/virtualization.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {

/// EID as the header binds it, and as PCMD tells software: a SECS carries its own inside, encrypted.
struct Identity {
  u64 bound = 0, told = 0;
};

/// The checks that depend on the page's type.
tl::expected<Identity, SgxError> may_leave(LeafContext& ctx, u32 index) CLOISTER_REQUIRES(ctx.package.mutex()) {
  const EpcmEntry& page = ctx.epcm(index);
  if (has_owner(page.type)) {
    if (fails("EWB.blocked", !page.blocked)) return tl::unexpected(SgxError::page_not_blocked);
    if (fails("EWB.tracked", !is_tracked(ctx.epcm(page.secs), page))) return tl::unexpected(SgxError::not_tracked);
    const u64 eid = ctx.secs(page.secs).live().eid;
    return Identity{eid, eid};
  }
  if (page.type == PageType::secs) {
    if (child_present(ctx, index, "EWB.page")) return tl::unexpected(SgxError::child_present);
    return Identity{0, ctx.secs(index).live().eid};
  }
  return Identity{};
}

}  // namespace

LeafResult ewb(LeafContext& ctx) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx(), rdx = ctx.rdx();
  TRY(ctx.aligned(rbx, sizeof(arch::Pageinfo), "EWB.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "EWB.rcx_aligned"));
  const auto index = TRY(ctx.epc(rcx, Access::write, "EWB.rcx_epc"));
  TRY(ctx.aligned(rdx, sizeof(u64), "EWB.rdx_aligned"));
  const auto va_index = TRY(ctx.epc(rdx, Access::write, "EWB.rdx_epc"));
  if (fails("EWB.same_page", index == va_index)) return leaf_gp();

  const auto info = TRY(ctx.read_as<arch::Pageinfo>(rbx));
  if (fails("EWB.linaddr", info.linaddr != 0) || fails("EWB.secs", info.secs != 0)) return leaf_gp();
  const u64 pcmd_at = ctx.linear(info.secinfo), srcpge = ctx.linear(info.srcpge);
  TRY(ctx.aligned(pcmd_at, sizeof(arch::Pcmd), "EWB.pcmd_aligned"));
  TRY(ctx.aligned(srcpge, arch::page_size, "EWB.srcpge_aligned"));

  EpcmEntry& page = ctx.epcm(index);
  EpcmEntry& va = ctx.epcm(va_index);
  const Held lock(page.lock, LockMode::exclusive);
  if (fails("EWB.rcx_busy", !lock)) return ctx.busy(rcx, SgxConflict::page_exception);
  const Held va_lock(va.lock, LockMode::shared);
  if (fails("EWB.va_busy", !va_lock)) return leaf_gp();
  const Held va_slots(va.track_lock, LockMode::exclusive);
  if (fails("EWB.va_slots", !va_slots)) return leaf_gp();

  PagingHeader header;
  arch::Pcmd pcmd{};
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EWB.rcx_valid", !page.valid)) return ctx.epc_fault(rcx);
    if (fails("EWB.va_valid", !va.valid) || fails("EWB.va_type", va.type != PageType::va)) return ctx.epc_fault(rdx);
    const auto identity = may_leave(ctx, index);
    if (!identity) return failure(identity.error());
    header.eid = identity->bound;
    pcmd.enclaveid = identity->told;
    header.linaddr = page.enclave_address;
    header.secinfo.flags = pcmd.secinfo.flags = secinfo_flags_of(page);
  }

  const u64 version = ctx.package.keys().next_version();
  std::array<u8, arch::page_size> sealed;
  const u8* const content = ctx.package.page(index);
  pcmd.mac =
      seal_page(ctx.package.keys().paging_key(), version, header, ConstPageBytes{content, arch::page_size}, sealed);
  TRY(ctx.write(srcpge, sealed.data(), sizeof sealed));
  TRY(ctx.write(pcmd_at, &pcmd, sizeof pcmd));
  const u64 linaddr_at = rbx + offsetof(arch::Pageinfo, linaddr);
  TRY(ctx.write(linaddr_at, &header.linaddr, sizeof header.linaddr));

  ctx.touch(va_index);
  const MutexLock guard(ctx.package.mutex());
  u64* const slot = reinterpret_cast<u64*>(ctx.package.page(va_index) + arch::page_offset(rdx));
  const bool occupied = fails("EWB.slot_empty", *slot != 0);
  *slot = version;
  page.valid = false;
  if (has_owner(page.type)) --ctx.epcm(page.secs).children;
  return occupied ? failure_cf(SgxError::va_slot_occupied) : success();
}

}  // namespace cloister::silicon
