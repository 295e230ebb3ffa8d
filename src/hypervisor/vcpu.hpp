// The loop of one processor: bring devices up to now, inject what is pending, run, handle the exit; wait while halted.
#pragma once

#include <chrono>
#include <optional>

#include "hypervisor/gdb/debugger.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

class VcpuLoop {
 public:
  /// debugger: null for none.
  VcpuLoop(Machine& machine, const RunOptions& options, gdb::Debugger* debugger)
      : machine_(machine), options_(options), debugger_(debugger) {}
  /// Until the domain ends. With a debugger, a crash is first shown to it.
  Stop run();

 private:
  using Clock = std::chrono::steady_clock;

  Stop run_guest();
  /// The debugger looks at a guest that has stopped, until it lets go.
  std::optional<Stop> wait_for_debugger();
  void after_step(const silicon::Exit& exit);

  /// One entry into the guest and the handling of its exit.
  std::optional<Stop> enter();
  std::optional<Stop> handle(const silicon::Exit& exit);
  /// Chooses the event for the next entry, or asks for an exit when it can be delivered.
  void prepare_events();
  void queue(const silicon::Event& event);
  /// Instructions until something other than the guest has to be looked at.
  u64 budget();
  /// The outside world: console, debugger, stop flag, time limit. Cheap; at most about once a millisecond.
  std::optional<Stop> poll_outside();
  bool poll_is_due();
  /// Passes time while the processor is halted.
  std::optional<Stop> idle();
  /// Waits at most `wait` for input from console or debugger; zero looks without waiting.
  void wait_for_input(std::chrono::nanoseconds wait);
  bool stepping() const { return debugger_ != nullptr && debugger_->stepping(); }

  Machine& machine_;
  const RunOptions& options_;
  gdb::Debugger* debugger_;
  Clock::time_point started_ = Clock::now();
  u64 next_poll_ = 0;         ///< host clock: TSC
  bool nmi_waiting_ = false;  ///< taken from the local APIC, not yet delivered
};

}  // namespace cloister::hypervisor
