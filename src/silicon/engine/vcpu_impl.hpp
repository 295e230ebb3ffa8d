// A logical processor put together: state, MMU, blocks, controls, clock. The run loop is in run.cpp.
#pragma once

#include <Zydis/Zydis.h>

#include <map>
#include <random>
#include <set>

#include "silicon/engine/block_cache.hpp"
#include "silicon/engine/engine_kind.hpp"
#include "silicon/isa/system/event.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

class VcpuImpl final : public Surroundings {
 public:
  using Config = vmx::Vcpu::Config;

  VcpuImpl(PackageImpl& package, MemoryImpl& memory, Config config, EngineKind engine);

  Cpu& cpu() { return cpu_; }
  Mmu& mmu() { return mmu_; }
  PackageImpl& package() { return package_; }
  const Config& config() const { return config_; }

  Exit run(u64 budget);

  /// Executes up to `slice` instructions of the blocks from `block` on, at cpu.rip; how many were retired. Afterwards
  /// cpu.leave says why it stopped; a fault or exit has left RIP at its instruction.
  u64 execute(Block& block, u64 slice);

  bool interruptible() const;
  bool nmi_interruptible() const { return !cpu_.nmi_blocked && !cpu_.shadow; }
  bool msr_passes(u32 index) const override { return passthrough_.contains(index); }
  const Controls& controls() const override { return controls_; }
  void set_controls(const Controls& controls);
  void inject(const Event& event) { injected_ = event; }

  bool pause_loop_is_long(const Op* op) override;

  u64 tsc() const override;
  void skip_to(u64 tsc);
  u64 instructions() const { return retired_ + running(); }
  const EngineCounters& engine_counters() const { return cpu_.counters; }
  u64 random() override;
  u64 drawn() const { return drawn_; }
  void set_drawn(u64 numbers);

  void count_unimplemented(ZydisMnemonic what, ZydisISASet set, u64 rip) override;
  std::vector<Unimplemented> unimplemented() const;

  using EnclsObserver = std::function<void(u32, u64, EnclsResult)>;
  const EnclsObserver& encls_observer() const override { return encls_observer_; }
  void set_encls_observer(EnclsObserver observer) { encls_observer_ = std::move(observer); }

 private:
  /// Instructions retired in the present call of execute().
  u64 running() const;
  /// `address`: becomes CR2, if `event` is a page fault of this processor's. An injected event is not intercepted.
  std::optional<Exit> deliver(Event event, u64 rip, std::optional<u64> address = std::nullopt, bool injected = false);
  std::optional<Exit> raise(const Fault& fault);
  std::optional<Exit> take_debug_trap();
  std::optional<Exit> before_instruction(u64 left);
  Exit run_until_exit(u64 budget);
  bool one_by_one() const;

  PackageImpl& package_;
  EnclsObserver encls_observer_;
  Config config_;
  Time own_time_;
  Time& time_;  ///< the configuration's, or its own
  Controls controls_;
  std::set<u32> passthrough_;
  Cpu cpu_;
  Mmu mmu_;
  std::unique_ptr<Engine> engine_;
  BlockCache blocks_;
  u64 first_pause_ = 0;            ///< of the present loop of PAUSE: TSC
  std::optional<u64> last_pause_;  ///< since VM entry
  std::optional<Event> injected_;
  u64 retired_ = 0;
  u64 slice_ = 0;  ///< of the present execute(); 0 outside
  std::mt19937_64 seeded_;
  u64 drawn_ = 0;  ///< of its numbers
  struct Count {
    u64 count = 0, first_rip = 0;
  };
  std::map<std::pair<ZydisMnemonic, ZydisISASet>, Count> unimplemented_;
};

}  // namespace cloister::silicon
