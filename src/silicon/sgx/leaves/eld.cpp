// ENCLS[ELDB], [ELDU], [ELDBC] and [ELDUC] (SDM vol. 3D, 38.3): bring an evicted page back, blocked or not. The
// variants with C return a code where the others fault because a page is in use.
#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/keys/paging_crypto.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

namespace {

struct Variant {
  bool blocked;
  bool codes;  ///< conflicts are error codes
};

LeafResult in_use(Variant variant) {
  if (variant.codes) return failure(SgxError::epc_page_conflict);
  return leaf_gp();
}

LeafResult load(LeafContext& ctx, Variant variant) {
  const u64 rbx = ctx.rbx(), rcx = ctx.rcx(), rdx = ctx.rdx();
  TRY(ctx.aligned(rbx, sizeof(arch::Pageinfo), "ELD.rbx_aligned"));
  TRY(ctx.aligned(rcx, arch::page_size, "ELD.rcx_aligned"));
  const auto target = TRY(ctx.epc_page(rcx, Access::write, "ELD.rcx_epc"));
  const u32 index = target.index;
  TRY(ctx.aligned(rdx, sizeof(u64), "ELD.rdx_aligned"));
  const auto va_index = TRY(ctx.epc(rdx, Access::write, "ELD.rdx_epc"));

  const auto info = TRY(ctx.read_as<arch::Pageinfo>(rbx));
  const u64 pcmd_at = ctx.linear(info.secinfo), srcpge = ctx.linear(info.srcpge);
  TRY(ctx.aligned(pcmd_at, sizeof(arch::Pcmd), "ELD.pcmd_aligned"));
  TRY(ctx.aligned(srcpge, arch::page_size, "ELD.srcpge_aligned"));

  EpcmEntry& page = ctx.epcm(index);
  EpcmEntry& va = ctx.epcm(va_index);
  const Held lock(page.lock, LockMode::exclusive);
  if (fails("ELD.rcx_busy", !lock))
    return ctx.busy(rcx, variant.codes ? SgxConflict::page_error : SgxConflict::page_exception);
  const Held va_lock(va.lock, LockMode::shared);
  if (fails("ELD.va_busy", !va_lock)) return in_use(variant);
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("ELD.rcx_free", page.valid)) return ctx.epc_fault(rcx);
    if (fails("ELD.va_valid", !va.valid) || fails("ELD.va_type", va.type != PageType::va)) return ctx.epc_fault(rdx);
  }

  const auto pcmd = TRY(ctx.read_as<arch::Pcmd>(pcmd_at));
  const PageType type = pcmd.secinfo.type();
  PagingHeader header{.secinfo = pcmd.secinfo, .linaddr = info.linaddr, .reserved = pcmd.reserved};
  u32 secs_index = 0;
  Held secs_lock;
  if (has_owner(type)) {
    const u64 secs_at = ctx.linear(info.secs);
    TRY(ctx.aligned(secs_at, arch::page_size, "ELD.secs_aligned"));
    const auto owner = TRY(ctx.epc(secs_at, Access::write, "ELD.secs_epc"));
    secs_index = owner;
    secs_lock = Held(ctx.epcm(secs_index).lock, LockMode::shared);
    if (fails("ELD.secs_busy", !secs_lock)) return in_use(variant);
    const MutexLock guard(ctx.package.mutex());
    // An EID means something only in a SECS; any other page could hold one of its choosing.
    const EpcmEntry& secs = ctx.epcm(secs_index);
    if (fails("ELD.secs_valid", !secs.valid)) return ctx.epc_fault(secs_at);
    if (fails("ELD.secs_type", secs.type != PageType::secs)) return ctx.epc_fault(secs_at);
    header.eid = ctx.secs(secs_index).live().eid;
  } else if (fails("ELD.secs_zero", info.secs != 0)) {
    return leaf_gp();
  }

  // A copy: what was authenticated is what is loaded, whoever writes to the guest's memory meanwhile.
  std::array<u8, arch::page_size> sealed;
  TRY(ctx.read(srcpge, sealed.data(), sizeof sealed));
  u64* const slot = reinterpret_cast<u64*>(ctx.package.page(va_index) + arch::page_offset(rdx));
  u64 version = 0;
  {
    const MutexLock guard(ctx.package.mutex());
    version = *slot;
  }
  ctx.touch(index);
  const PageBytes content{ctx.package.page(index), arch::page_size};
  const bool authentic = open_page(ctx.package.keys().paging_key(), version, header, sealed, pcmd.mac, content);
  if (fails("ELD.mac", !authentic)) {
    return failure(SgxError::mac_compare_fail);
  }

  ctx.touch(va_index);
  const MutexLock guard(ctx.package.mutex());
  if (*slot != version) {
    // Another processor has loaded this image, or evicted a page to this slot, since the slot was read.
    std::memset(content.data(), 0, content.size());
    return failure(SgxError::mac_compare_fail);
  }
  *slot = 0;
  if (type == PageType::secs) page.eid = ctx.secs(index).live().eid;
  claim_page(page, pcmd.secinfo.flags, info.linaddr, secs_index);
  if (has_owner(type)) {
    EpcmEntry& secs = ctx.epcm(secs_index);
    page.blocked = variant.blocked;
    // Its eviction proved that no translation was left; nothing since could make one of a blocked page.
    page.epoch = secs.epoch - 2;
    ++secs.children;
  } else if (type == PageType::secs) {
    ctx.secs(index).live().enclavecontext = target.physical;
  }
  return success();
}

}  // namespace

LeafResult eldb(LeafContext& ctx) { return load(ctx, {.blocked = true, .codes = false}); }
LeafResult eldu(LeafContext& ctx) { return load(ctx, {.blocked = false, .codes = false}); }
LeafResult eldbc(LeafContext& ctx) { return load(ctx, {.blocked = true, .codes = true}); }
LeafResult elduc(LeafContext& ctx) { return load(ctx, {.blocked = false, .codes = true}); }

}  // namespace cloister::silicon
