// ENCLS[ECREATE] (SDM vol. 3D, 38.3): makes a SECS of a free EPC page, and starts its measurement.
#include <bit>
#include <cstring>

#include "arch/try.hpp"
#include "silicon/isa/vector/xsave.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "silicon/sgx/leaves/root.hpp"

namespace cloister::silicon {

namespace {

using arch::PageType;

/// An SSA frame holds the XSAVE area of the enclave's components, MISC and GPRSGX (SDM vol. 3D, 35.9).
bool frame_fits(const arch::Secs& secs) {
  const u64 misc = (secs.miscselect & arch::miscselect::exinfo) != 0 ? sizeof(arch::Exinfo) : 0;
  return secs.ssa_frame_size * arch::page_size >= xstate::bytes_of(secs.attributes.xfrm) + misc + sizeof(arch::Gprsgx);
}

bool range_valid(const arch::Secs& secs, const SgxFeatures& features) {
  const bool mode64 = (secs.attributes.flags & arch::attributes::mode64bit) != 0;
  if (mode64 && fails("ECREATE.base_canonical", !is_canonical(secs.base))) return false;
  if (!mode64 && fails("ECREATE.base_32", (secs.base >> 32) != 0)) return false;
  const u8 limit = mode64 ? features.log2_size_64 : features.log2_size_32;
  const bool too_large = limit < 64 && secs.size >= u64{1} << limit;
  if (fails(mode64 ? "ECREATE.size_limit_64" : "ECREATE.size_limit_32", too_large)) return false;
  if (fails("ECREATE.size_least", secs.size < 2 * arch::page_size)) return false;
  if (fails("ECREATE.size_power", !std::has_single_bit(secs.size))) return false;
  return !fails("ECREATE.base_aligned", (secs.base & (secs.size - 1)) != 0);
}

bool reserved_zero(const arch::Secs& secs) {
  return all_zero(secs.reserved1) && all_zero(secs.reserved2) && all_zero(secs.reserved3) && all_zero(secs.reserved4);
}

bool secinfo_valid(const arch::Secinfo& secinfo) {
  return !fails("ECREATE.secinfo_reserved", !reserved_clear(secinfo)) &&
         !fails("ECREATE.page_type", secinfo.type() != PageType::secs);
}

/// The rules for the copied page, all of which fault alike.
bool acceptable(const arch::Secs& secs, const SgxFeatures& features) {
  constexpr u64 legacy = xstate::x87 | xstate::sse;
  if (fails("ECREATE.xfrm_x87_sse", (secs.attributes.xfrm & legacy) != legacy)) return false;
  if (fails("ECREATE.xfrm", (secs.attributes.xfrm & ~features.xfrm) != 0)) return false;
  // Without CET its fields are reserved.
  if (fails("ECREATE.cet_attributes", secs.cet_attributes != 0)) return false;
  if (fails("ECREATE.cet_bitmap", secs.cet_leg_bitmap_offset != 0)) return false;
  if (fails("ECREATE.miscselect", (secs.miscselect & ~features.miscselect()) != 0)) return false;
  if (fails("ECREATE.ssa_frame_size", !frame_fits(secs)) || !range_valid(secs, features)) return false;
  if (fails("ECREATE.attributes", (secs.attributes.flags & ~features.attributes()) != 0)) return false;
  if (fails("ECREATE.reserved", !reserved_zero(secs))) return false;
  if ((secs.attributes.flags & arch::attributes::kss) != 0) return true;
  return !fails("ECREATE.configid", !all_zero(secs.configid)) && !fails("ECREATE.configsvn", secs.configsvn != 0);
}

/// Writes the page and claims its free entry, whose lock the caller holds.
void make_secs(PackageImpl& package, u32 index, SecsPage& secs, u64 context) {
  secs.architectural.isvprodid = secs.architectural.isvsvn = 0;
  SecsInternal internal{};
  internal.eid = package.keys().next_eid();
  internal.enclavecontext = context;
  secs.set_internal(internal);
  Measurement measurement = Measurement::start();
  measurement.ecreate(secs.architectural.ssa_frame_size, secs.architectural.size);
  store_measurement(secs, measurement);

  page_store(package.state(index));
  std::memcpy(package.page(index), &secs, sizeof secs);
  EpcmEntry& entry = package.epcm(index);
  const MutexLock guard(package.mutex());
  entry.enclave_address = 0;
  entry.secs = index;
  entry.eid = internal.eid;
  entry.epoch = 1;
  entry.children = entry.threads_now = entry.threads_before = 0;
  entry.type = PageType::secs;
  entry.read = entry.write = entry.execute = false;
  entry.blocked = entry.pending = entry.modified = entry.permission_restricted = false;
  entry.valid = true;
}

}  // namespace

LeafResult ecreate(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  TRY(ctx.aligned(ctx.rbx(), sizeof(arch::Pageinfo), "ECREATE.rbx_aligned"));
  TRY(ctx.aligned(linear, arch::page_size, "ECREATE.rcx_aligned"));
  const auto target = TRY(ctx.epc_page(linear, Access::write, "ECREATE.rcx_epc"));

  const auto info = TRY(ctx.read_as<arch::Pageinfo>(ctx.rbx()));
  const u64 source = ctx.linear(info.srcpge), secinfo_at = ctx.linear(info.secinfo);
  TRY(ctx.aligned(source, arch::page_size, "ECREATE.srcpge_aligned"));
  TRY(ctx.aligned(secinfo_at, sizeof(arch::Secinfo), "ECREATE.secinfo_aligned"));
  if (fails("ECREATE.linaddr", info.linaddr != 0) || fails("ECREATE.secs", info.secs != 0)) return leaf_gp();
  const auto secinfo = TRY(ctx.read_as<arch::Secinfo>(secinfo_at));
  if (!secinfo_valid(secinfo)) return leaf_gp();

  EpcmEntry& entry = ctx.epcm(target.index);
  const Held held(entry.lock, LockMode::exclusive);
  if (fails("ECREATE.rcx_busy", !held)) return ctx.busy(linear, SgxConflict::page_exception);
  if (const MutexLock guard(ctx.package.mutex()); fails("ECREATE.rcx_free", entry.valid)) return ctx.epc_fault(linear);

  SecsPage secs;
  TRY(ctx.read(source, &secs, sizeof secs));
  if (!acceptable(secs.architectural, ctx.package.features())) return leaf_gp();

  make_secs(ctx.package, target.index, secs, target.physical);
  return std::monostate{};
}

EnclsResult root_ecreate(PackageImpl& package, Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs,
                         Gpa context) {
  constexpr EnclsResult gp{.fault = arch::vector::gp, .rax = 0}, pf{.fault = arch::vector::pf, .rax = 0};
  EventCounts::add(package.counts().encls, static_cast<u32>(arch::EnclsLeaf::ecreate));
  const Held beside(package.root_leaves(), LockMode::shared);
  if (!beside || fails("LATCH.root_ecreate", package.latch() != Latch::open)) return gp;
  const auto index = package.index_of(frame);
  if (!index) return pf;
  if (!secinfo_valid(secinfo)) return gp;
  EpcmEntry& entry = package.epcm(*index);
  const Held held(entry.lock, LockMode::exclusive);
  if (!held) return gp;
  {
    const MutexLock guard(package.mutex());
    if (entry.valid) return pf;
  }
  SecsPage page;
  page.architectural = secs;
  if (!acceptable(secs, package.features())) return gp;
  make_secs(package, *index, page, context.value);
  return {};
}

}  // namespace cloister::silicon
