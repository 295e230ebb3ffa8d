// Leaving an enclave: ENCLU[EEXIT] (SDM vol. 3D, 38.4) and the asynchronous exit (ch. 37).
#include "silicon/isa/vector/fxsave.hpp"
#include "silicon/isa/vector/xsave.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

namespace f = arch::rflags;
namespace v = arch::vector;

namespace {

/// EXITINFO of an event (SDM vol. 3D, table 35-11): which vectors are told to the enclave.
u32 exitinfo_of(const EnclaveState& e, const Event& event) {
  const bool exinfo = (e.miscselect & arch::miscselect::exinfo) != 0;
  switch (event.vector) {
    case v::de:
    case v::db:
    case v::br:
    case v::ud:
    case v::mf:
    case v::ac:
    case v::xm: return event.vector | arch::exitinfo::hardware | arch::exitinfo::valid;
    case v::bp: return event.vector | arch::exitinfo::software | arch::exitinfo::valid;
    case v::gp: return exinfo ? event.vector | arch::exitinfo::hardware | arch::exitinfo::valid : 0;
    case v::pf:
      // A supervisor access's fault says nothing about the enclave's code.
      return exinfo && (event.error & arch::pfec::us) != 0
                 ? event.vector | arch::exitinfo::hardware | arch::exitinfo::valid
                 : 0;
    default: return 0;
  }
}

void save_registers(Cpu& cpu, arch::Gprsgx& g) {
  const auto& r = cpu.gpr;
  const bool wide = cpu.enclave.mode64;
  const auto sized = [&](u64 x) { return wide ? x : static_cast<u32>(x); };
  g.rax = sized(r[arch::rax]);
  g.rcx = sized(r[arch::rcx]);
  g.rdx = sized(r[arch::rdx]);
  g.rbx = sized(r[arch::rbx]);
  g.rsp = sized(r[arch::rsp]);
  g.rbp = sized(r[arch::rbp]);
  g.rsi = sized(r[arch::rsi]);
  g.rdi = sized(r[arch::rdi]);
  if (wide) {
    u64* const high[8] = {&g.r8, &g.r9, &g.r10, &g.r11, &g.r12, &g.r13, &g.r14, &g.r15};
    for (unsigned i = 0; i < 8; ++i) *high[i] = r[8 + i];
  }
  g.fsbase = cpu.seg[arch::seg_fs].base;
  g.gsbase = cpu.seg[arch::seg_gs].base;
}

/// Legacy region, header, whose bytes 8 to 23 are 0, and AVX.
void save_extended(Cpu& cpu, u8* area) {
  FxsaveImage image{};
  write_fxsave(cpu, image);
  std::memcpy(area, image.data(), image.size());
  std::memset(area + image.size(), 0, ssa_xsave_bytes - image.size());
  const u64 xstate_bv = cpu.enclave.xfrm;
  std::memcpy(area + image.size(), &xstate_bv, sizeof xstate_bv);
  if ((xstate_bv & xstate::avx) != 0) write_avx_image(cpu.fpu, true, area + xstate::header_end);
}

/// What TCS and SSA frame say of the code outside.
struct Outside {
  u64 aep, tcs_linear, rsp, rbp;
};

/// Synthetic state (SDM vol. 3D, table 37-1 and 37.3).
void load_synthetic(Cpu& cpu, const Outside& outside, const Event* event) {
  const bool wide = cpu.enclave.mode64;
  cpu.gpr[arch::rax] = static_cast<u64>(arch::EncluLeaf::eresume);
  cpu.gpr[arch::rbx] = outside.tcs_linear;
  cpu.gpr[arch::rcx] = outside.aep;
  for (const arch::Gpr r : {arch::rdx, arch::rsi, arch::rdi}) cpu.gpr[r] = 0;
  for (unsigned r = arch::r8; wide && r <= arch::r15; ++r) cpu.gpr[r] = 0;
  cpu.gpr[arch::rsp] = outside.rsp;
  cpu.gpr[arch::rbp] = outside.rbp;
  set_rflags(cpu, cpu.rflags() & ~(f::status | f::rf));
  cpu.rip = outside.aep;

  const bool mf = event != nullptr && event->vector == v::mf, xm = event != nullptr && event->vector == v::xm;
  constexpr u32 synthetic_mxcsr = 0x1fb0, synthetic_mxcsr_xm = 0x1f01;
  FpuState fpu{};
  constexpr FxsaveForm form{};
  fpu.control = mf ? 0x37e : 0x37f;
  fpu.status = mf ? 0x8081 : 0;
  FxsaveImage image{};
  write_x87_image(fpu, form, image.data());
  write_mxcsr_image(xm ? synthetic_mxcsr_xm : synthetic_mxcsr, image.data());
  read_fxsave(cpu, image);
  if ((cpu.enclave.xfrm & xstate::avx) != 0) init_avx_component(cpu.fpu, true);
}

}  // namespace

void move_cssa(PackageImpl& package, u32 tcs, i32 by) {
  const MutexLock guard(package.mutex());
  reinterpret_cast<arch::Tcs*>(package.page(tcs))->cssa += static_cast<u32>(by);
}

void leave_enclave_mode(Cpu& cpu, PackageImpl& package) {
  EnclaveState& e = cpu.enclave;
  {
    const MutexLock guard(package.mutex());
    leave_enclave(package.epcm(e.secs), e.epoch);
    page_store(package.state(e.tcs));
    reinterpret_cast<arch::Tcs*>(package.page(e.tcs))->state = 0;
  }
  cpu.seg[arch::seg_fs] = e.saved_fs;
  cpu.seg[arch::seg_gs] = e.saved_gs;
  if ((cpu.cr4 & arch::cr4::osxsave) != 0) cpu.xcr0 = e.saved_xcr0;
  e.active = false;
  if (e.opt_out && e.saved_tf) cpu.system_flags |= f::tf;
  cpu.mmu->leave_enclave_space();
  update_mode(cpu);
}

LeafResult eexit(LeafContext& ctx) {
  Cpu& cpu = ctx.cpu();
  const u64 target = cpu.code64 ? cpu.gpr[arch::rbx] : static_cast<u32>(cpu.gpr[arch::rbx]);
  if (cpu.code64 && fails("EEXIT.canonical", !is_canonical(target))) return leaf_gp();
  if (!cpu.code64 && fails("EEXIT.limit", target > cpu.seg[arch::seg_cs].limit)) return leaf_gp();
  const bool opt_out = cpu.enclave.opt_out;
  cpu.gpr[arch::rcx] = reinterpret_cast<const arch::Tcs*>(ctx.package.page(cpu.enclave.tcs))->aep;
  leave_enclave_mode(cpu, ctx.package);
  cpu.rip = target;
  // After an opt-out entry with TF set the whole stay was one instruction: its trap comes now.
  if (opt_out && (cpu.system_flags & f::tf) != 0) cpu.pending_debug |= arch::dr6::bs;
  ctx.transferred = true;
  return LeafDone{};
}

void asynchronous_exit(Cpu& cpu, PackageImpl& package, const Event* event, u64 address) {
  EnclaveState& e = cpu.enclave;
  EventCounts::add(package.counts().asynchronous_exits, 1);
  arch::Gprsgx& g = gprsgx_of(package, e.gpr_page);
  page_store(package.state(e.gpr_page));
  page_store(package.state(e.xsave_page));
  page_store(package.state(e.tcs));

  save_registers(cpu, g);
  const bool fault = event != nullptr && event->type == EventType::exception && event->vector != v::db;
  g.rflags = (cpu.rflags() & ~f::tf) | (fault ? f::rf : 0);
  g.rip = cpu.rip;
  save_extended(cpu, package.page(e.xsave_page));
  g.exitinfo = event != nullptr ? exitinfo_of(e, *event) : 0;
  if (g.exitinfo != 0 && (event->vector == v::pf || event->vector == v::gp)) {
    exinfo_of(package, e.gpr_page) = {event->vector == v::pf ? address : 0, event->error, 0};
  }
  const auto& tcs = *reinterpret_cast<const arch::Tcs*>(package.page(e.tcs));
  move_cssa(package, e.tcs, 1);
  // Once the thread is out, its pages may leave the EPC.
  const Outside outside{tcs.aep, e.tcs_linear, g.ursp, g.urbp};
  leave_enclave_mode(cpu, package);
  load_synthetic(cpu, outside, event);
}

}  // namespace cloister::silicon
