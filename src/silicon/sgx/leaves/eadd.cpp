// ENCLS[EADD] (SDM vol. 3D, 38.3): copies a page into an enclave that is being built.
#include "arch/try.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/leaves/measurement.hpp"

namespace cloister::silicon {

namespace {

using arch::PageType;
namespace flag = arch::secinfo_flags;

/// What EADD wants of a TCS. The limits of FS and GS matter outside 64-bit mode only, and cover whole pages.
bool tcs_acceptable(const arch::Tcs& tcs, bool mode64) {
  constexpr u32 page_end = 0xfff;
  if (fails("EADD.tcs_reserved", !all_zero(tcs.reserved))) return false;
  if (mode64) return true;
  return !fails("EADD.tcs_fslimit", (tcs.fslimit & page_end) != page_end) &&
         !fails("EADD.tcs_gslimit", (tcs.gslimit & page_end) != page_end);
}

/// The fields that a new TCS starts with, whatever its source says.
void initialise(arch::Tcs& tcs) {
  tcs.state = 0;
  tcs.flags &= ~arch::tcs_flags::dbgoptin;
  tcs.cssa = 0;
  tcs.aep = 0;
}

}  // namespace

LeafResult eadd(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  TRY(ctx.aligned(ctx.rbx(), sizeof(arch::Pageinfo), "EADD.rbx_aligned"));
  TRY(ctx.aligned(linear, arch::page_size, "EADD.rcx_aligned"));
  const auto target = TRY(ctx.epc(linear, Access::write, "EADD.rcx_epc"));

  const auto info = TRY(ctx.read_as<arch::Pageinfo>(ctx.rbx()));
  const u64 source = ctx.linear(info.srcpge), secs_at = ctx.linear(info.secs);
  const u64 secinfo_at = ctx.linear(info.secinfo);
  TRY(ctx.aligned(source, arch::page_size, "EADD.srcpge_aligned"));
  TRY(ctx.aligned(secs_at, arch::page_size, "EADD.secs_aligned"));
  TRY(ctx.aligned(secinfo_at, sizeof(arch::Secinfo), "EADD.secinfo_aligned"));
  if (fails("EADD.linaddr_aligned", arch::page_offset(info.linaddr) != 0)) return leaf_gp();
  const auto secs_index = TRY(ctx.epc(secs_at, Access::write, "EADD.secs_epc"));
  auto secinfo = TRY(ctx.read_as<arch::Secinfo>(secinfo_at));
  // Shadow-stack pages belong to CET.
  const bool is_tcs = secinfo.type() == PageType::tcs;
  if (fails("EADD.secinfo_reserved", !reserved_clear(secinfo)) ||
      fails("EADD.page_type", !is_tcs && secinfo.type() != PageType::reg)) {
    return leaf_gp();
  }

  // That these pages are what they are changes only with them held exclusively: the package's mutex is not needed.
  EpcmEntry& entry = ctx.epcm(target);
  const Held held(entry.lock, LockMode::exclusive);
  if (fails("EADD.rcx_busy", !held)) return ctx.busy(linear, SgxConflict::page_exception);
  if (fails("EADD.rcx_free", entry.valid)) return ctx.epc_fault(linear);
  EpcmEntry& owner = ctx.epcm(secs_index);
  const Held secs_held(owner.lock, LockMode::shared);
  if (fails("EADD.secs_busy", !secs_held)) return leaf_gp();
  if (fails("EADD.secs_valid", !owner.valid) || fails("EADD.secs_type", owner.type != PageType::secs)) {
    return ctx.epc_fault(secs_at);
  }

  // The page is nobody's until its EPCM entry is valid: on a fault below, what was copied is out of reach.
  u8* const page = ctx.package.page(target);
  ctx.touch(target);
  TRY(ctx.read(source, page, arch::page_size));
  SecsPage& secs = ctx.secs(secs_index);
  if (is_tcs) {
    arch::Tcs& tcs = *reinterpret_cast<arch::Tcs*>(page);
    const u64 attributes = ctx.secs_now(secs_index).architectural.attributes.flags;
    if (!tcs_acceptable(tcs, (attributes & arch::attributes::mode64bit) != 0)) return leaf_gp();
    initialise(tcs);
    secinfo.flags &= ~flag::rwx;
  } else if (fails("EADD.write_only", (secinfo.flags & (flag::r | flag::w)) == flag::w)) {
    return leaf_gp();
  }
  const u64 offset = info.linaddr - secs.architectural.base;
  if (fails("EADD.elrange", offset >= secs.architectural.size)) return leaf_gp();
  const Held building(owner.build_lock, LockMode::exclusive);
  if (fails("EADD.measuring", !building) || fails("EADD.initialised", secs.initialised())) return leaf_gp();

  Measurement measurement = measurement_of(secs);
  measurement.eadd(offset, secinfo);
  store_measurement(secs, measurement);

  const MutexLock guard(ctx.package.mutex());
  entry.enclave_address = info.linaddr;
  entry.secs = secs_index;
  entry.epoch = 0;
  entry.type = secinfo.type();
  entry.read = (secinfo.flags & flag::r) != 0;
  entry.write = (secinfo.flags & flag::w) != 0;
  entry.execute = (secinfo.flags & flag::x) != 0;
  entry.blocked = entry.pending = entry.modified = entry.permission_restricted = false;
  entry.valid = true;
  ++owner.children;
  return std::monostate{};
}

}  // namespace cloister::silicon
