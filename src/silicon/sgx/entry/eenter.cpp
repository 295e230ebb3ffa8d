// ENCLU[EENTER] and ENCLU[ERESUME] (SDM vol. 3D, 38.4): entry into an enclave.
#include "arch/try.hpp"
#include "silicon/isa/vector/fxsave.hpp"
#include "silicon/isa/vector/xsave.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

using arch::PageType;
namespace f = arch::rflags;

namespace {

/// What both leaves have found when all checks have passed.
struct Entry {
  u32 tcs_index = 0, secs_index = 0;
  u64 base = 0;
  bool opt_out = false;
};

bool segment_used_with_base(const Segment& s) { return (s.attributes & attr::unusable) == 0 && s.base != 0; }

/// 32-bit code: flat segments. That DS is usable and not expand-down was checked for the operand and for the leaf.
bool segments_allow(const Cpu& cpu) {
  if (cpu.code64) return true;
  const Segment& ds = cpu.seg[arch::seg_ds];
  const Segment& ss = cpu.seg[arch::seg_ss];
  if (fails("ENTER.cs_base", cpu.seg[arch::seg_cs].base != 0) || fails("ENTER.ds_base", ds.base != 0)) return false;
  if (fails("ENTER.es_base", segment_used_with_base(cpu.seg[arch::seg_es]))) return false;
  if (fails("ENTER.ss_base", segment_used_with_base(ss))) return false;
  return !fails("ENTER.ss_big", (ss.attributes & attr::db) == 0);
}

/// CR4 and XCR0 against the enclave's XFRM.
bool xfrm_allowed(const Cpu& cpu, u64 xfrm) {
  if (fails("ENTER.osfxsr", (cpu.cr4 & arch::cr4::osfxsr) == 0)) return false;
  if ((cpu.cr4 & arch::cr4::osxsave) == 0) return !fails("ENTER.xfrm_legacy", xfrm != 3);
  return !fails("ENTER.xfrm", (xfrm & ~cpu.xcr0) != 0);
}

tl::expected<void, Miss> check_tcs_page(LeafContext& ctx, u32 index, u64 linear)
    CLOISTER_REQUIRES(ctx.package.mutex()) {
  const EpcmEntry& page = ctx.epcm(index);
  if (fails("ENTER.tcs_valid", !page.valid) || fails("ENTER.tcs_blocked", page.blocked) ||
      fails("ENTER.tcs_address", page.enclave_address != linear) ||
      fails("ENTER.tcs_type", page.type != PageType::tcs) ||
      fails("ENTER.tcs_settled", page.pending || page.modified)) {
    return ctx.epc_fault(linear);
  }
  return {};
}

/// Checks of the TCS and the SECS that come before those of the SSA (rows 7 to 12 of both leaves).
bool tcs_allows(const Cpu& cpu, const arch::Tcs& tcs, const SecsPage& secs) {
  const arch::Secs& s = secs.architectural;
  const bool mode64 = (s.attributes.flags & arch::attributes::mode64bit) != 0;
  if (fails("ENTER.ossa", arch::page_offset(tcs.ossa) != 0)) return false;
  if (fails("ENTER.ofsbase", arch::page_offset(tcs.ofsbase) != 0)) return false;
  if (fails("ENTER.ogsbase", arch::page_offset(tcs.ogsbase) != 0)) return false;
  if (fails("ENTER.flags", (tcs.flags & ~arch::tcs_flags::defined) != 0)) return false;
  if (fails("ENTER.initialised", !secs.initialised()) || fails("ENTER.mode", cpu.code64 != mode64)) return false;
  if (!xfrm_allowed(cpu, s.attributes.xfrm)) return false;
  const bool notify = (tcs.flags & arch::tcs_flags::aexnotify) != 0;
  const bool notifiable = (s.attributes.flags & arch::attributes::aexnotify) != 0;
  return !fails("ENTER.aexnotify", (tcs.flags & arch::tcs_flags::dbgoptin) == 0 && notify != notifiable);
}

/// FS and GS inside: read/write data at the TCS's offsets (SDM vol. 3D, EENTER, "Setup segments").
Segment inside_segment(const Segment& ds, u64 base, u32 limit) {
  constexpr u32 fixed = 1 | attr::s | attr::present | attr::db | attr::g;
  return {0x0b, base, limit, fixed | (ds.attributes & (attr::writable | attr::dpl | attr::avl | attr::l))};
}

/// Enters: state from here on is the enclave's.
void enter(LeafContext& ctx, const Entry& entry, const SsaFrame& frame, const arch::Secs& secs, const arch::Tcs& tcs,
           u64 fs_base, u64 gs_base) {
  Cpu& cpu = ctx.cpu();
  EnclaveState& e = cpu.enclave;
  e.active = true;
  e.opt_out = entry.opt_out;
  e.secs = entry.secs_index;
  e.tcs = entry.tcs_index;
  e.tcs_linear = ctx.rbx();
  e.base = entry.base;
  e.size = secs.size;
  e.xfrm = secs.attributes.xfrm;
  e.miscselect = secs.miscselect;
  e.mode64 = (secs.attributes.flags & arch::attributes::mode64bit) != 0;
  e.xsave_page = frame.xsave_page;
  e.gpr_page = frame.gpr_page;
  e.saved_fs = cpu.seg[arch::seg_fs];
  e.saved_gs = cpu.seg[arch::seg_gs];
  e.saved_xcr0 = cpu.xcr0;
  e.saved_tf = (cpu.system_flags & f::tf) != 0;
  if (entry.opt_out) {
    cpu.system_flags &= ~f::tf;
    cpu.no_step = true;
    cpu.pending_debug = 0;
  }
  if ((cpu.cr4 & arch::cr4::osxsave) != 0) cpu.xcr0 = e.xfrm;
  const Segment& ds = cpu.seg[arch::seg_ds];
  cpu.seg[arch::seg_fs] = inside_segment(ds, fs_base, e.mode64 ? 0xffff'ffff : tcs.fslimit);
  cpu.seg[arch::seg_gs] = inside_segment(ds, gs_base, e.mode64 ? 0xffff'ffff : tcs.gslimit);
  cpu.mmu->enter_enclave_space();
  update_mode(cpu);
  ctx.transferred = true;
}

/// A copy: the enclave's other threads may write there.
arch::Gprsgx read_gprsgx(PackageImpl& package, const SsaFrame& frame) {
  arch::Gprsgx g;
  copy_guest(&g, &gprsgx_of(package, frame.gpr_page), sizeof g);
  return g;
}

/// Loads what ERESUME takes from the frame.
void load_frame(Cpu& cpu, const arch::Gprsgx& g, bool opt_out, bool mode64) {
  const u64 width = mode64 ? ~u64{0} : 0xffff'ffff;
  const u64 values[16] = {g.rax, g.rcx, g.rdx, g.rbx, g.rsp, g.rbp, g.rsi, g.rdi,
                          g.r8,  g.r9,  g.r10, g.r11, g.r12, g.r13, g.r14, g.r15};
  for (unsigned i = 0; i < (mode64 ? 16u : 8u); ++i) cpu.gpr[i] = values[i] & width;
  u64 mask = f::status | f::df | f::nt | f::ac | f::id | f::rf | f::tf;
  if (opt_out) mask &= ~f::tf;
  if (cpu.iopl() == 3) mask |= f::if_;
  set_rflags(cpu, (g.rflags & mask) | (cpu.rflags() & ~mask & ~(opt_out ? f::tf : 0) & ~f::vm));
  cpu.rip = g.rip;
}

/// The XSAVE area of a frame: legacy region and header, and the AVX component (SDM vol. 1, 13.4).
struct XsaveArea {
  FxsaveImage legacy;
  u64 xstate_bv;
  u64 xcomp_bv;
  std::array<u8, 48> reserved;
  std::array<u8, xstate::avx_bytes> avx;
};
static_assert(offsetof(XsaveArea, avx) == ssa_xsave_bytes && sizeof(XsaveArea) == xstate::area_bytes);

/// XRSTOR of the frame; false: #GP.
bool restore_extended(Cpu& cpu, const u8* area) {
  XsaveArea x;
  const u64 xfrm = cpu.enclave.xfrm;
  copy_guest(&x, area, xstate::bytes_of(xfrm));
  if ((x.xstate_bv & ~xfrm) != 0 || x.xcomp_bv != 0 || !all_zero(x.reserved)) return false;
  FxsaveImage image{};
  write_fxsave(cpu, image);
  const FpuState initial{};
  constexpr FxsaveForm form{};
  // A component whose bit is clear takes its initial state; MXCSR is loaded either way.
  std::memcpy(image.data(), x.legacy.data(), image.size());
  if ((x.xstate_bv & 1) == 0) write_x87_image(initial, form, image.data());
  if ((x.xstate_bv & 2) == 0) write_xmm_image(initial, form, image.data());
  if (!read_fxsave(cpu, image)) return false;
  if ((x.xstate_bv & xstate::avx) != 0) {
    read_avx_image(cpu.fpu, true, x.avx.data());
  } else if ((xfrm & xstate::avx) != 0) {
    init_avx_component(cpu.fpu, true);
  }
  return true;
}

/// A thread on its way in. From before the first look at an SSA frame it is counted in its enclave's epoch, so that no
/// page that it has found can leave the EPC, and the TCS is its own, so that no other thread moves CSSA on. Undone
/// unless the entry succeeds. TCS.STATE tells only of an entry that has: EDBGRD may look at any moment.
class Entering {
 public:
  /// Caller holds the TCS's lock.
  Entering(LeafContext& ctx, const Entry& entry, const arch::Tcs& tcs) CLOISTER_REQUIRES(ctx.package.mutex())
      : ctx_(ctx),
        entry_(entry),
        own_(ctx.epcm(entry.tcs_index).entry_lock, LockMode::exclusive),
        busy_(!own_ || tcs.state != 0),
        epoch_(enter_enclave(ctx.epcm(entry.secs_index))) {}
  Entering(const Entering&) = delete;
  Entering& operator=(const Entering&) = delete;
  ~Entering() {
    if (done_) return;
    const MutexLock guard(ctx_.package.mutex());
    leave_enclave(ctx_.epcm(entry_.secs_index), epoch_);
  }

  /// Another thread is in the enclave with this TCS: software learns it after everything else that may be wrong.
  bool busy() const { return busy_; }
  /// The entry succeeded: its epoch.
  u64 done() {
    done_ = true;
    return epoch_;
  }

 private:
  LeafContext& ctx_;
  const Entry& entry_;
  const Held own_;
  const bool busy_;
  const u64 epoch_;
  bool done_ = false;
};

LeafResult enter_leaf(LeafContext& ctx, bool resume) {
  Cpu& cpu = ctx.cpu();
  const u64 linear = ctx.rbx();
  if (!segments_allow(cpu)) return leaf_gp();
  TRY(ctx.aligned(linear, arch::page_size, "ENTER.rbx_aligned"));
  const auto tcs_index = TRY(ctx.epc(linear, Access::read, "ENTER.rbx_epc"));
  const u64 aep = cpu.code64 ? cpu.gpr[arch::rcx] : static_cast<u32>(cpu.gpr[arch::rcx]);
  if (cpu.code64 && fails("ENTER.aep_canonical", !is_canonical(aep))) return leaf_gp();
  const Held held(ctx.epcm(tcs_index).lock, LockMode::shared);
  if (fails("ENTER.tcs_busy", !held)) return leaf_gp();

  MutexLock guard(ctx.package.mutex());
  TRY(check_tcs_page(ctx, tcs_index, linear));
  Entry entry{tcs_index, ctx.epcm(tcs_index).secs, 0, false};
  arch::Tcs& tcs = *reinterpret_cast<arch::Tcs*>(ctx.package.page(tcs_index));
  SecsPage& secs = ctx.secs(entry.secs_index);
  if (!tcs_allows(cpu, tcs, secs)) return leaf_gp();
  const arch::Secs& s = secs.architectural;
  entry.base = s.base;
  entry.opt_out = (tcs.flags & arch::tcs_flags::dbgoptin) == 0;
  const u32 cssa = tcs.cssa;
  if (resume ? fails("ERESUME.cssa", cssa == 0) : fails("EENTER.cssa", cssa >= tcs.nssa)) return leaf_gp();
  Entering entering(ctx, entry, tcs);
  guard.unlock();

  auto frame = TRY(check_ssa_frame(ctx, s, tcs, entry.secs_index, entry.base, resume ? cssa - 1 : cssa));
  bool notify = false;
  if (resume) {
    notify = (tcs.flags & arch::tcs_flags::aexnotify) != 0 && (read_gprsgx(ctx.package, frame).aexnotify & 1) != 0;
    if (notify) {
      if (fails("ERESUME.notify_cssa", cssa >= tcs.nssa)) return leaf_gp();
      frame = TRY(check_ssa_frame(ctx, s, tcs, entry.secs_index, entry.base, cssa));
    }
  }
  const bool from_frame = resume && !notify;
  const arch::Gprsgx g = read_gprsgx(ctx.package, frame);
  const u64 target = from_frame ? g.rip : entry.base + tcs.oentry;
  const u64 fs_base = from_frame && cpu.code64 ? g.fsbase : entry.base + tcs.ofsbase;
  const u64 gs_base = from_frame && cpu.code64 ? g.gsbase : entry.base + tcs.ogsbase;
  if (cpu.code64) {
    if (fails("ENTER.target_canonical", !is_canonical(target))) return leaf_gp();
    if (fails("ENTER.fs_canonical", !is_canonical(fs_base))) return leaf_gp();
    if (fails("ENTER.gs_canonical", !is_canonical(gs_base))) return leaf_gp();
  } else {
    const u64 ds_limit = cpu.seg[arch::seg_ds].limit;
    if (fails("ENTER.target_limit", target > cpu.seg[arch::seg_cs].limit)) return leaf_gp();
    if (fails("ENTER.fs_limit", u64{static_cast<u32>(fs_base)} + tcs.fslimit > ds_limit)) return leaf_gp();
    if (fails("ENTER.gs_limit", u64{static_cast<u32>(gs_base)} + tcs.gslimit > ds_limit)) return leaf_gp();
  }
  if (fails("ENTER.active", entering.busy())) return leaf_gp();
  if (from_frame) {
    cpu.enclave.xfrm = s.attributes.xfrm;
    if (fails("ERESUME.xrstor", !restore_extended(cpu, ctx.package.page(frame.xsave_page)))) return leaf_gp();
  }

  cpu.enclave.epoch = entering.done();
  ctx.touch(tcs_index);
  {
    const MutexLock again(ctx.package.mutex());
    tcs.state = 1;
    tcs.aep = aep;
    if (from_frame) --tcs.cssa;
  }
  if (!from_frame) {
    ctx.touch(frame.gpr_page);
    arch::Gprsgx& saved = gprsgx_of(ctx.package, frame.gpr_page);
    copy_guest(&saved.ursp, &cpu.gpr[arch::rsp], sizeof saved.ursp);
    copy_guest(&saved.urbp, &cpu.gpr[arch::rbp], sizeof saved.urbp);
  }
  enter(ctx, entry, frame, s, tcs, fs_base, gs_base);
  if (from_frame) {
    load_frame(cpu, g, entry.opt_out, cpu.enclave.mode64);
  } else {
    cpu.gpr[arch::rax] = cssa;
    cpu.gpr[arch::rcx] = ctx.next_rip;
    cpu.rip = target;
  }
  return LeafDone{};
}

}  // namespace

tl::expected<SsaFrame, Miss> check_ssa_frame(LeafContext& ctx, const arch::Secs& secs, const arch::Tcs& tcs,
                                             u32 secs_index, u64 base, u32 frame) {
  const u64 bytes = u64{secs.ssa_frame_size} * arch::page_size;
  const u64 start = base + tcs.ossa + bytes * frame;
  const auto check = [&](u64 linear, const char* name) -> tl::expected<u32, Miss> {
    const auto page = TRY(ctx.cpu().mmu->translate_raw(linear, Access::write, ctx.cpu().mmu->data_mode()));
    if (fails(name, ".epc", !page.epc_index)) return ctx.epc_fault(linear);
    const u32 index = epc_index_of(page.epc_index, page.physical, ctx.package.epc_pages());
    const MutexLock guard(ctx.package.mutex());
    const EpcmEntry& e = ctx.epcm(index);
    if (fails(name, ".valid", !e.valid) || fails(name, ".blocked", e.blocked) ||
        fails(name, ".settled", e.pending || e.modified) || fails(name, ".address", e.enclave_address != linear) ||
        fails(name, ".type", e.type != PageType::reg) || fails(name, ".owner", e.secs != secs_index) ||
        fails(name, ".rights", !e.read || !e.write)) {
      return ctx.epc_fault(linear);
    }
    return index;
  };
  const auto xsave = TRY(check(start, "SSA.xsave"));
  const auto gpr = TRY(check(start + bytes - arch::page_size, "SSA.gpr"));
  return SsaFrame{xsave, gpr};
}

arch::Gprsgx& gprsgx_of(PackageImpl& package, u32 gpr_page) {
  return *reinterpret_cast<arch::Gprsgx*>(package.page(gpr_page) + arch::page_size - sizeof(arch::Gprsgx));
}
arch::Exinfo& exinfo_of(PackageImpl& package, u32 gpr_page) {
  return *reinterpret_cast<arch::Exinfo*>(package.page(gpr_page) + arch::page_size - sizeof(arch::Gprsgx) -
                                          sizeof(arch::Exinfo));
}

LeafResult eenter(LeafContext& ctx) { return enter_leaf(ctx, false); }
LeafResult eresume(LeafContext& ctx) { return enter_leaf(ctx, true); }

LeafResult edeccssa(LeafContext& ctx) {
  Cpu& cpu = ctx.cpu();
  EnclaveState& e = cpu.enclave;
  const Held held(ctx.epcm(e.tcs).lock, LockMode::shared);
  if (fails("EDECCSSA.tcs_busy", !held)) return leaf_gp();
  const auto& tcs = *reinterpret_cast<const arch::Tcs*>(ctx.package.page(e.tcs));
  if (fails("EDECCSSA.cssa", tcs.cssa == 0)) return leaf_gp();
  const auto frame = TRY(check_ssa_frame(ctx, ctx.secs(e.secs).architectural, tcs, e.secs, e.base, tcs.cssa - 1));
  ctx.touch(e.tcs);
  move_cssa(ctx.package, e.tcs, -1);
  e.xsave_page = frame.xsave_page;
  e.gpr_page = frame.gpr_page;
  return LeafDone{};
}

}  // namespace cloister::silicon
