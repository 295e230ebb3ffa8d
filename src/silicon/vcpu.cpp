// The logical processor's side of interface 1: registers by value, controls, clock.
#include <algorithm>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/isa/system/control.hpp"
#include "silicon/isa/vector/fxsave.hpp"
#include "silicon/isa/vector/xsave.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/silicon.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {

Vcpu::Vcpu(Package& package, GuestMemory& memory, Config config)
    : impl_(std::make_unique<Impl>(package.impl(), memory.impl(), config, package.engine())) {}
Vcpu::~Vcpu() = default;

Exit Vcpu::run(u64 budget) { return impl_->run(budget); }
void Vcpu::kick() noexcept {
  impl_->cpu().kicked.store(true, std::memory_order_release);
  impl_->cpu().attention.store(true, std::memory_order_release);
}

GeneralRegs Vcpu::general() const {
  const Cpu& cpu = impl_->cpu();
  GeneralRegs r;
  std::copy_n(cpu.gpr.begin(), r.gpr.size(), r.gpr.begin());
  r.rip = cpu.rip;
  r.rflags = cpu.rflags();
  return r;
}

void Vcpu::set_general(const GeneralRegs& r) {
  Cpu& cpu = impl_->cpu();
  std::copy(r.gpr.begin(), r.gpr.end(), cpu.gpr.begin());
  cpu.rip = cpu.wrap(r.rip);
  set_rflags(cpu, r.rflags);
}

SystemRegs Vcpu::system() const {
  const Cpu& cpu = impl_->cpu();
  return {.seg = cpu.seg,
          .ldtr = cpu.ldtr,
          .tr = cpu.tr,
          .gdtr = cpu.gdtr,
          .idtr = cpu.idtr,
          .cr0 = cpu.cr0,
          .cr2 = cpu.cr2,
          .cr3 = cpu.cr3,
          .cr4 = cpu.cr4,
          .cr8 = cpu.cr8,
          .xcr0 = cpu.xcr0,
          .efer = cpu.efer,
          .dr = cpu.dr,
          .dr6 = cpu.dr6,
          .dr7 = cpu.dr7,
          .cpl = cpu.cpl};
}

void Vcpu::set_system(const SystemRegs& r) {
  Cpu& cpu = impl_->cpu();
  cpu.seg = r.seg;
  cpu.ldtr = r.ldtr;
  cpu.tr = r.tr;
  cpu.gdtr = r.gdtr;
  cpu.idtr = r.idtr;
  cpu.cr0 = r.cr0;
  cpu.cr2 = r.cr2;
  cpu.cr3 = r.cr3;
  cpu.cr4 = r.cr4;
  cpu.cr8 = r.cr8;
  cpu.xcr0 = r.xcr0;
  cpu.efer = r.efer;
  cpu.dr = r.dr;
  cpu.dr6 = r.dr6;
  cpu.dr7 = r.dr7;
  cpu.cpl = static_cast<u8>(attr::dpl_of(r.seg[arch::seg_ss].attributes));
  update_mode(cpu);
  impl_->mmu().flush_all();
}

FxsaveImage Vcpu::fpu() const {
  FxsaveImage image{};
  write_fxsave(impl_->cpu(), image);
  return image;
}
void Vcpu::set_fpu(const FxsaveImage& image) { read_fxsave(impl_->cpu(), image); }
UpperHalves Vcpu::upper_halves() const {
  UpperHalves halves;
  write_avx_image(impl_->cpu().fpu, true, halves.data());
  return halves;
}
void Vcpu::set_upper_halves(const UpperHalves& halves) { read_avx_image(impl_->cpu().fpu, true, halves.data()); }

std::optional<u64> Vcpu::read_msr(u32 index) const { return silicon::read_msr(impl_->cpu(), index); }
void Vcpu::set_cpuid(std::span<const CpuidEntry>) {}  // CPUID exits
bool Vcpu::write_msr(u32 index, u64 value) { return silicon::write_msr(impl_->cpu(), index, value); }

bool Vcpu::set_xcr0(u64 value) {
  constexpr u64 x87 = 1, sse = 2, avx = 4;
  const u64 supported = x87 | sse | (host_features().avx ? avx : 0);
  if ((value & x87) == 0 || (value & ~supported) != 0) return false;
  if ((value & avx) != 0 && (value & sse) == 0) return false;
  impl_->cpu().xcr0 = value;
  update_fpu_blocks(impl_->cpu());
  return true;
}

void Vcpu::set_controls(const Controls& controls) { impl_->set_controls(controls); }
void Vcpu::inject(const Event& event) { impl_->inject(event); }
bool Vcpu::interruptible() const { return impl_->interruptible(); }
bool Vcpu::nmi_interruptible() const { return impl_->nmi_interruptible(); }
void Vcpu::clear_interrupt_shadow() { impl_->cpu().shadow = impl_->cpu().shadow_ss = false; }
vmx::Interruptibility Vcpu::interruptibility() const {
  const Cpu& cpu = impl_->cpu();
  return {.sti = cpu.shadow && !cpu.shadow_ss,
          .mov_ss = cpu.shadow_ss,
          .nmi = cpu.nmi_blocked,
          .pending_debug = cpu.pending_debug};
}

void Vcpu::set_interruptibility(const vmx::Interruptibility& state) {
  Cpu& cpu = impl_->cpu();
  cpu.shadow = state.sti || state.mov_ss;
  cpu.shadow_ss = state.mov_ss;
  cpu.nmi_blocked = state.nmi;
  cpu.pending_debug = state.pending_debug;
}

u64 Vcpu::drawn() const { return impl_->drawn(); }
void Vcpu::set_drawn(u64 numbers) { impl_->set_drawn(numbers); }
u64 Vcpu::tsc() const { return impl_->tsc(); }
void Vcpu::skip_to(u64 tsc) { impl_->skip_to(tsc); }
u64 Vcpu::instructions() const { return impl_->instructions(); }

vmx::Execution Vcpu::execution() const {
  const EngineCounters& counters = impl_->engine_counters();
  const u64 all = impl_->instructions();
  // Engines that translate nothing count nothing.
  if (!counters.works) return {.interpreted = all};
  // Both are counted at entries into blocks, of which some do not come to their end.
  const u64 interpreted = std::min(counters.interpreted, all),
            by_handler = std::min(counters.by_handler, all - interpreted);
  return {.translated = all - interpreted - by_handler,
          .by_handler = by_handler,
          .interpreted = interpreted,
          .blocks = counters.blocks,
          .code_bytes = counters.bytes,
          .flushes = counters.flushes};
}
std::vector<Unimplemented> Vcpu::unimplemented() const { return impl_->unimplemented(); }
void Vcpu::set_encls_observer(std::function<void(u32, u64, EnclsResult)> observer) {
  impl_->set_encls_observer(std::move(observer));
}

}  // namespace cloister::silicon
