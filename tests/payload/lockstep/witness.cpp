#include "witness.hpp"

#include <algorithm>
#include <array>

#include "arch/sizes.hpp"

namespace cloister::lockstep {

namespace {

class WitnessedVcpu final : public vmx::Vcpu {
 public:
  WitnessedVcpu(Witness& witness, u32 number, std::unique_ptr<vmx::Vcpu> behind)
      : witness_(witness), number_(number), behind_(std::move(behind)), next_look_(witness.terms().every) {}

  vmx::Exit run(u64 budget) override {
    while (true) {
      const u64 before = behind_->instructions();
      const u64 slice = std::min(budget, next_look_ - before);
      const vmx::Exit exit = behind_->run(slice);
      note(exit);
      budget -= behind_->instructions() - before;
      const bool ours = exit.reason == vmx::ExitReason::preemption_timer && budget != 0;
      if (!ours) return exit;
    }
  }

  void kick() noexcept override { behind_->kick(); }
  vmx::GeneralRegs general() const override { return behind_->general(); }
  void set_general(const vmx::GeneralRegs& regs) override { behind_->set_general(regs); }
  vmx::SystemRegs system() const override { return behind_->system(); }
  void set_system(const vmx::SystemRegs& regs) override { behind_->set_system(regs); }
  vmx::FxsaveImage fpu() const override { return behind_->fpu(); }
  void set_fpu(const vmx::FxsaveImage& image) override { behind_->set_fpu(image); }
  vmx::UpperHalves upper_halves() const override { return behind_->upper_halves(); }
  void set_upper_halves(const vmx::UpperHalves& halves) override { behind_->set_upper_halves(halves); }
  void set_cpuid(std::span<const vmx::CpuidEntry> entries) override { behind_->set_cpuid(entries); }
  std::optional<u64> read_msr(u32 index) const override { return behind_->read_msr(index); }
  bool write_msr(u32 index, u64 value) override { return behind_->write_msr(index, value); }
  bool set_xcr0(u64 value) override { return behind_->set_xcr0(value); }
  void set_controls(const vmx::Controls& controls) override { behind_->set_controls(controls); }
  void inject(const vmx::Event& event) override { behind_->inject(event); }
  bool interruptible() const override { return behind_->interruptible(); }
  bool nmi_interruptible() const override { return behind_->nmi_interruptible(); }
  void clear_interrupt_shadow() override { behind_->clear_interrupt_shadow(); }
  vmx::Interruptibility interruptibility() const override { return behind_->interruptibility(); }
  void set_interruptibility(const vmx::Interruptibility& state) override { behind_->set_interruptibility(state); }
  u64 tsc() const override { return behind_->tsc(); }
  void skip_to(u64 tsc) override { behind_->skip_to(tsc); }
  u64 drawn() const override { return behind_->drawn(); }
  void set_drawn(u64 numbers) override { behind_->set_drawn(numbers); }
  u64 instructions() const override { return behind_->instructions(); }
  vmx::Execution execution() const override { return behind_->execution(); }
  std::vector<vmx::Unimplemented> unimplemented() const override { return behind_->unimplemented(); }
  void set_encls_observer(std::function<void(u32 leaf, u64 rcx, vmx::EnclsResult)> observer) override {
    behind_->set_encls_observer(std::move(observer));
  }

 private:
  void note(const vmx::Exit& exit) {
    Sight sight = sight_of(number_, *behind_, exit);
    const u64 instructions = behind_->instructions();
    if (instructions >= next_look_) {
      next_look_ = (instructions / witness_.terms().every + 1) * witness_.terms().every;
      look_closely(sight, *behind_);
      if (looks_++ % witness_.terms().looks_at_memory == 0) sight[Seen::memory] = witness_.memory_hash();
    }
    witness_.add(sight, instructions >= witness_.terms().most);
  }

  Witness& witness_;
  u32 number_;
  std::unique_ptr<vmx::Vcpu> behind_;
  u64 next_look_, looks_ = 0;
};

}  // namespace

RamHash::RamHash(std::vector<Ram> ram) : ram_(std::move(ram)) {
  for (const Ram& range : ram_) pages_.emplace_back(range.pages);
}

u64 RamHash::now(vmx::GuestMemory& memory) {
  std::array<std::byte, arch::page_size> page{};
  u64 sum = 0;
  for (std::size_t r = 0; r < ram_.size(); ++r) {
    const std::vector<bool> dirty = memory.take_dirty(ram_[r].base, ram_[r].pages);
    for (u64 i = 0; i < ram_[r].pages; ++i) {
      if (dirty[i] && memory.read(ram_[r].base + i * arch::page_size, page)) pages_[r][i] = hash(page);
      sum = sum * 3 + pages_[r][i];
    }
  }
  return sum;
}

Witness::Witness(vmx::Package& behind, const Terms& terms, std::vector<Ram> ram, Sights& sights,
                 std::atomic<bool>& stop)
    : PackageInFront(behind), terms_(terms), ram_(std::move(ram)), sights_(sights), stop_(stop) {}

std::unique_ptr<vmx::GuestMemory> Witness::make_memory() {
  auto memory = behind_.make_memory();
  memory_ = memory.get();
  return memory;
}

std::unique_ptr<vmx::Vcpu> Witness::make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) {
  return std::make_unique<WitnessedVcpu>(*this, processors_++, behind_.make_vcpu(memory, config));
}

void Witness::add(const Sight& sight, bool enough) {
  sights_.add(sight);
  if (enough || sights_.difference()) stop_ = true;
}

}  // namespace cloister::lockstep
