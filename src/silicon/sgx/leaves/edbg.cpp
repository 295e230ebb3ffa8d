// ENCLS[EDBGRD] and ENCLS[EDBGWR] (SDM vol. 3D, 38.3): a debugger's access to the pages of a debug enclave.
#include <cstring>

#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

namespace {

using arch::PageType;
using arch::SgxError;

constexpr u64 tcs_limit = offsetof(arch::Tcs, reserved), tcs_flags_at = offsetof(arch::Tcs, flags);

bool is_child(PageType type) {
  return type == PageType::reg || type == PageType::tcs || type == PageType::ss_first || type == PageType::ss_rest;
}

/// Eight bytes in 64-bit mode, else four.
unsigned operand_bytes(const LeafContext& ctx) { return ctx.cpu().code64 ? 8 : 4; }

/// What both leaves check of a page that they hold, the operand at `offset` in it. A code, if there is one to return.
tl::expected<std::optional<Code>, Miss> check(LeafContext& ctx, u32 index, u64 linear, Access access) {
  const MutexLock guard(ctx.package.mutex());
  const EpcmEntry& page = ctx.epcm(index);
  const bool version_array = page.type == PageType::va && access == Access::read;
  if (fails("EDBG.rcx_valid", !page.valid) || fails("EDBG.rcx_type", !is_child(page.type) && !version_array)) {
    return ctx.epc_fault(linear, access);
  }
  if (fails("EDBG.pending", page.pending) || fails("EDBG.modified", page.modified))
    return failure(SgxError::page_not_debuggable);
  const u64 offset = arch::page_offset(linear);
  if (page.type == PageType::tcs) {
    const bool reachable = access == Access::read ? offset < tcs_limit : (offset & ~u64{7}) == tcs_flags_at;
    if (fails("EDBG.tcs_limit", !reachable)) return leaf_gp();
  }
  if (!is_child(page.type)) return std::nullopt;
  const u64 attributes = ctx.secs(page.secs).architectural.attributes.flags;
  if (fails("EDBG.debug", (attributes & arch::attributes::debug) == 0)) return leaf_gp();
  return std::nullopt;
}

/// A version says no more of itself than whether it is there.
u64 version_mask(const u8* page, u64 offset) {
  u64 version;
  copy_guest(&version, page + (offset & ~u64{7}), sizeof version);
  return version != 0 ? ~u64{0} : 0;
}

}  // namespace

LeafResult edbgrd(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  const unsigned bytes = operand_bytes(ctx);
  TRY(ctx.aligned(linear, bytes, "EDBG.rcx_aligned"));
  const auto index = TRY(ctx.epc(linear, Access::read, "EDBG.rcx_epc"));
  const Held held(ctx.epcm(index).lock, LockMode::shared);
  if (fails("EDBG.rcx_busy", !held)) return leaf_gp();
  const auto code = TRY(check(ctx, index, linear, Access::read));
  if (code) return *code;

  const u8* const page = ctx.package.page(index);
  const u64 offset = arch::page_offset(linear);
  u64 value = 0;
  if (ctx.epcm(index).type == PageType::va) {
    value = version_mask(page, offset);
    if (bytes == 4) value = static_cast<u32>(value);
  } else {
    copy_guest(&value, page + offset, bytes);
  }
  ctx.cpu().gpr[arch::rbx] = value;
  return success();
}

LeafResult edbgwr(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  const unsigned bytes = operand_bytes(ctx);
  TRY(ctx.aligned(linear, bytes, "EDBG.rcx_aligned"));
  const auto index = TRY(ctx.epc(linear, Access::write, "EDBG.rcx_epc"));
  const Held held(ctx.epcm(index).lock, LockMode::shared);
  if (fails("EDBG.rcx_busy", !held)) return leaf_gp();
  const auto code = TRY(check(ctx, index, linear, Access::write));
  if (code) return *code;

  ctx.touch(index);
  copy_guest(ctx.package.page(index) + arch::page_offset(linear), &ctx.cpu().gpr[arch::rbx], bytes);
  return success();
}

}  // namespace cloister::silicon
