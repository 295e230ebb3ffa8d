// A logical processor's reset state, controls, clock and counts.
#include "silicon/engine/vcpu_impl.hpp"

#include <sys/random.h>

#include "silicon/decode/instruction_set.hpp"
#include "silicon/engine/engines.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

VcpuImpl::VcpuImpl(PackageImpl& package, MemoryImpl& memory, Config config, EngineKind engine)
    : package_(package),
      config_(config),
      time_(config.time != nullptr ? *config.time : own_time_),
      mmu_(cpu_, memory, package),
      engine_(make_engine(engine)),
      blocks_(cpu_, mmu_, *engine_),
      seeded_(config.seed) {
  cpu_.mmu = &mmu_;
  cpu_.blocks = &blocks_;
  cpu_.engine = engine_.get();
  engine_->attach(cpu_);
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

void VcpuImpl::set_controls(const Controls& controls) {
  if (controls.msr_passthrough != controls_.msr_passthrough) {
    passthrough_ = {controls.msr_passthrough.begin(), controls.msr_passthrough.end()};
  }
  controls_ = controls;
  cpu_.window_wanted = controls.interrupt_window;
}

bool VcpuImpl::pause_loop_is_long(const Op* op) {
  if (!controls_.pause_loop_exiting) return false;
  cpu_.at = op;  // for the deterministic clock
  const u64 now = tsc();
  cpu_.at = nullptr;
  const auto& [gap, window] = *controls_.pause_loop_exiting;
  const std::optional<u64> last = std::exchange(last_pause_, now);
  if (!last || now - *last > gap) first_pause_ = now;
  return now - first_pause_ > window;
}

u64 VcpuImpl::tsc() const {
  return config_.clock == ClockMode::deterministic ? time_.counted() + running() : time_.elapsed();
}

void VcpuImpl::skip_to(u64 tsc_value) {
  if (config_.clock != ClockMode::deterministic) return;
  const u64 now = tsc();
  if (tsc_value > now) time_.advance(tsc_value - now);
}

u64 VcpuImpl::random() {
  if (config_.clock == ClockMode::deterministic) {
    ++drawn_;
    return seeded_();
  }
  u64 value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

void VcpuImpl::set_drawn(u64 numbers) {
  seeded_.seed(config_.seed);
  seeded_.discard(numbers);
  drawn_ = numbers;
}

void VcpuImpl::count_unimplemented(ZydisMnemonic what, ZydisISASet set, u64 rip) {
  Count& count = unimplemented_.try_emplace({what, set}, Count{0, rip}).first->second;
  ++count.count;
}

std::vector<Unimplemented> VcpuImpl::unimplemented() const {
  std::vector<Unimplemented> all;
  for (const auto& [instruction, c] : unimplemented_) {
    const auto& [mnemonic, set] = instruction;
    all.push_back({ZydisMnemonicGetString(mnemonic), c.count, c.first_rip, *offered_by(set, mnemonic)});
  }
  return all;
}

}  // namespace cloister::silicon
