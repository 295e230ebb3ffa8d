// ENCLS[ECREATE] (SDM vol. 3D, 38.3): makes a SECS of a free EPC page, and starts its measurement.
#include <bit>

#include "silicon/cpu/xsave.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/measurement.hpp"

namespace cloister::silicon {

namespace {

using arch::PageType;

/// An SSA frame holds the XSAVE area (x87 and SSE lie in its fixed part), MISC and GPRSGX (SDM vol. 3D, 35.9).
bool frame_fits(const arch::Secs& secs) {
  const u64 misc = (secs.miscselect & arch::miscselect::exinfo) != 0 ? sizeof(arch::Exinfo) : 0;
  return secs.ssa_frame_size * arch::page_size >= xstate::area_bytes + misc + sizeof(arch::Gprsgx);
}

bool range_valid(const arch::Secs& secs, const SgxFeatures& features) {
  const bool mode64 = (secs.attributes.flags & arch::attributes::mode64bit) != 0;
  if (mode64 ? !is_canonical(secs.base) : (secs.base >> 32) != 0) return false;
  const u8 limit = mode64 ? features.log2_size_64 : features.log2_size_32;
  if (limit < 64 && secs.size >= u64{1} << limit) return false;
  if (secs.size < 2 * arch::page_size || !std::has_single_bit(secs.size)) return false;
  return (secs.base & (secs.size - 1)) == 0;
}

bool reserved_zero(const arch::Secs& secs) {
  return all_zero(secs.reserved1) && all_zero(secs.reserved2) && all_zero(secs.reserved3) && all_zero(secs.reserved4);
}

/// The rules for the copied page, all of which fault alike.
bool acceptable(const arch::Secs& secs, const SgxFeatures& features) {
  if ((secs.attributes.xfrm & xstate::supported) != xstate::supported) return false;
  if ((secs.attributes.xfrm & ~features.xfrm) != 0) return false;
  // Without CET its fields are reserved.
  if (secs.cet_attributes != 0 || secs.cet_leg_bitmap_offset != 0) return false;
  if ((secs.miscselect & ~features.miscselect()) != 0) return false;
  if (!frame_fits(secs) || !range_valid(secs, features)) return false;
  if ((secs.attributes.flags & ~features.attributes()) != 0) return false;
  if (!reserved_zero(secs)) return false;
  const bool kss = (secs.attributes.flags & arch::attributes::kss) != 0;
  return kss || (all_zero(secs.configid) && secs.configsvn == 0);
}

}  // namespace

LeafResult ecreate(LeafContext& ctx) {
  const u64 linear = ctx.rcx();
  if (auto ok = ctx.aligned(ctx.rbx(), sizeof(arch::Pageinfo)); !ok) return tl::unexpected(ok.error());
  if (auto ok = ctx.aligned(linear, arch::page_size); !ok) return tl::unexpected(ok.error());
  const auto target = ctx.epc_page(linear, Access::write);
  if (!target) return tl::unexpected(target.error());

  const auto info = ctx.read_as<arch::Pageinfo>(ctx.rbx());
  if (!info) return tl::unexpected(info.error());
  const u64 source = ctx.linear(info->srcpge), secinfo_at = ctx.linear(info->secinfo);
  if (auto ok = ctx.aligned(source, arch::page_size); !ok) return tl::unexpected(ok.error());
  if (auto ok = ctx.aligned(secinfo_at, sizeof(arch::Secinfo)); !ok) return tl::unexpected(ok.error());
  if (info->linaddr != 0 || info->secs != 0) return leaf_gp();
  const auto secinfo = ctx.read_as<arch::Secinfo>(secinfo_at);
  if (!secinfo) return tl::unexpected(secinfo.error());
  if (!reserved_clear(*secinfo) || secinfo->type() != PageType::secs) return leaf_gp();

  EpcmEntry& entry = ctx.epcm(target->index);
  const Held held(entry.lock, LockMode::exclusive);
  if (!held) return ctx.busy(linear, SgxConflict::page_exception);
  if (const auto guard = ctx.guard(); entry.valid) return ctx.epc_fault(linear);

  SecsPage secs;
  if (auto ok = ctx.read(source, &secs, sizeof secs); !ok) return tl::unexpected(ok.error());
  if (!acceptable(secs.architectural, ctx.package.features())) return leaf_gp();

  secs.architectural.isvprodid = secs.architectural.isvsvn = 0;
  SecsInternal internal{};
  internal.eid = ctx.package.keys().next_eid();
  internal.enclavecontext = target->physical;
  secs.set_internal(internal);
  Measurement measurement = Measurement::start();
  measurement.ecreate(secs.architectural.ssa_frame_size, secs.architectural.size);
  store_measurement(secs, measurement);

  ctx.touch(target->index);
  ctx.secs(target->index) = secs;
  const auto guard = ctx.guard();
  entry.enclave_address = 0;
  entry.secs = target->index;
  entry.eid = internal.eid;
  entry.epoch = 1;
  entry.children = entry.threads_now = entry.threads_before = 0;
  entry.type = PageType::secs;
  entry.read = entry.write = entry.execute = false;
  entry.blocked = entry.pending = entry.modified = entry.permission_restricted = false;
  entry.valid = true;
  return std::monostate{};
}

}  // namespace cloister::silicon
