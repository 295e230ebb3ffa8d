// The logical processor's side of interface 1: registers by value, controls, clock.
#include <sys/random.h>

#include "silicon/cpu/control.hpp"
#include "silicon/cpu/fpu.hpp"
#include "silicon/cpu/fxsave.hpp"
#include "silicon/cpu/instruction_set.hpp"
#include "silicon/vcpu_impl.hpp"

namespace cloister::silicon {

// ------------------------------------------------------------------------------------------------ Impl

Vcpu::Impl::Impl(Package::Impl& package, GuestMemory::Impl& memory, Config config)
    : package_(package),
      config_(config),
      time_(config.time != nullptr ? *config.time : own_time_),
      mmu_(cpu_, memory, package),
      blocks_(cpu_, mmu_),
      seeded_(config.seed) {
  cpu_.mmu = &mmu_;
  cpu_.blocks = &blocks_;
  cpu_.vcpu = this;
  for (Segment& s : cpu_.seg) s = {0, 0, 0xffff, 0x93};
  cpu_.seg[arch::seg_cs] = {0xf000, 0xffff'0000, 0xffff, 0x9b};
  cpu_.ldtr = {0, 0, 0xffff, 0x82};
  cpu_.tr = {0, 0, 0xffff, 0x8b};
  cpu_.gdtr = cpu_.idtr = {0, 0xffff};
  cpu_.cr0 = arch::cr0::et | arch::cr0::nw | arch::cr0::cd;
  cpu_.rip = 0xfff0;
  if (package.launch_control()) cpu_.lepubkeyhash = package.config().launch_hash;
  update_mode(cpu_);
}

void Vcpu::Impl::set_controls(const Controls& controls) {
  if (controls.msr_passthrough != controls_.msr_passthrough) {
    passthrough_ = {controls.msr_passthrough.begin(), controls.msr_passthrough.end()};
  }
  controls_ = controls;
  cpu_.window_wanted = controls.interrupt_window;
}

bool Vcpu::Impl::pause_loop_is_long(const Op* op) {
  if (!controls_.pause_loop_exiting) return false;
  cpu_.at = op;  // for the deterministic clock
  const u64 now = tsc();
  cpu_.at = nullptr;
  const auto& [gap, window] = *controls_.pause_loop_exiting;
  const std::optional<u64> last = std::exchange(last_pause_, now);
  if (!last || now - *last > gap) first_pause_ = now;
  return now - first_pause_ > window;
}

u64 Vcpu::Impl::tsc() const {
  return config_.clock == ClockMode::deterministic ? time_.counted() + running() : time_.elapsed();
}

void Vcpu::Impl::skip_to(u64 tsc_value) {
  if (config_.clock != ClockMode::deterministic) return;
  const u64 now = tsc();
  if (tsc_value > now) time_.advance(tsc_value - now);
}

u64 Vcpu::Impl::random() {
  if (config_.clock == ClockMode::deterministic) return seeded_();
  u64 value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

void Vcpu::Impl::count_unimplemented(ZydisMnemonic what, ZydisISASet set, u64 rip) {
  Count& count = unimplemented_.try_emplace({what, set}, Count{0, rip}).first->second;
  ++count.count;
}

std::vector<Unimplemented> Vcpu::Impl::unimplemented() const {
  std::vector<Unimplemented> all;
  for (const auto& [instruction, c] : unimplemented_) {
    const auto& [mnemonic, set] = instruction;
    all.push_back({ZydisMnemonicGetString(mnemonic), c.count, c.first_rip, *offered_by(set, mnemonic)});
  }
  return all;
}

// ------------------------------------------------------------------------------------------------ Vcpu

Vcpu::Vcpu(Package& package, GuestMemory& memory, Config config)
    : impl_(std::make_unique<Impl>(package.impl(), memory.impl(), config)) {}
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
  cpu.set_rflags(r.rflags);
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

std::optional<u64> Vcpu::read_msr(u32 index) const { return silicon::read_msr(impl_->cpu(), index); }
void Vcpu::set_cpuid(std::span<const CpuidEntry>) {}  // CPUID exits
bool Vcpu::write_msr(u32 index, u64 value) { return silicon::write_msr(impl_->cpu(), index, value); }

bool Vcpu::set_xcr0(u64 value) {
  constexpr u64 x87 = 1, sse = 2;
  if ((value & x87) == 0 || (value & ~(x87 | sse)) != 0) return false;
  impl_->cpu().xcr0 = value;
  return true;
}

void Vcpu::set_controls(const Controls& controls) { impl_->set_controls(controls); }
void Vcpu::inject(const Event& event) { impl_->inject(event); }
bool Vcpu::interruptible() const { return impl_->interruptible(); }
bool Vcpu::nmi_interruptible() const { return impl_->nmi_interruptible(); }
void Vcpu::clear_interrupt_shadow() { impl_->cpu().shadow = impl_->cpu().shadow_ss = false; }
u64 Vcpu::tsc() const { return impl_->tsc(); }
void Vcpu::skip_to(u64 tsc) { impl_->skip_to(tsc); }
u64 Vcpu::instructions() const { return impl_->instructions(); }
std::vector<Unimplemented> Vcpu::unimplemented() const { return impl_->unimplemented(); }
void Vcpu::set_encls_observer(std::function<void(u32, u64, EnclsResult)> observer) {
  impl_->encls_observer = std::move(observer);
}

}  // namespace cloister::silicon
