// The loop of one processor: bring its APIC up to now, inject what is pending, run, handle the exit; wait while halted.
// The bootstrap processor's loop also looks at the world outside: console, debugger, stop flag, time limit.
#pragma once

#include <chrono>

#include "hypervisor/gdb/debugger.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

class VcpuLoop {
 public:
  /// debugger: null for none.
  VcpuLoop(Processor& processor, const RunOptions& options, gdb::Debugger* debugger)
      : processor_(processor), machine_(processor.machine), options_(options), debugger_(debugger) {}

  /// The machine's.
  Mutex& lock() const CLOISTER_RETURN_CAPABILITY(machine_.lock) { return machine_.lock; }

  /// Until the domain ends, on a thread of its own (host clock).
  void run() CLOISTER_REQUIRES(machine_.lock);
  /// At most about `most` instructions, to the next message to another processor, or until it is halted or spins
  /// (deterministic clock). False if it was halted, or held back, all along.
  bool turn(u64 most) CLOISTER_REQUIRES(machine_.lock);
  /// Console, debugger, stop flag, time limit; may end the domain.
  void poll_outside() CLOISTER_REQUIRES(machine_.lock);
  /// As poll_outside(), after waiting at most `wait` for input from console or debugger, or for a notice.
  void wait_outside(std::chrono::nanoseconds wait) CLOISTER_REQUIRES(machine_.lock);
  /// Waits as long as the debugger, or a pause of the domain, holds this processor back.
  void wait_while_held() CLOISTER_REQUIRES(machine_.lock);

  /// The stop flag has no descriptor to wait on.
  static constexpr std::chrono::nanoseconds longest_wait = std::chrono::milliseconds(50);

 private:
  using Clock = std::chrono::steady_clock;

  bool bootstrap() const { return processor_.id == 0; }
  bool held() const CLOISTER_REQUIRES(machine_.lock) {
    return machine_.held() || (debugger_ != nullptr && debugger_->holds(processor_));
  }
  bool stepping() const { return debugger_ != nullptr && debugger_->steps(processor_); }
  bool asleep() const { return processor_.halted || processor_.waits_for_startup; }

  /// What has come since the last entry: start-up messages, timers, interrupts.
  void prepare() CLOISTER_REQUIRES(machine_.lock);
  /// Chooses the event for the next entry, or asks for an exit when it can be delivered.
  void prepare_events() CLOISTER_REQUIRES(machine_.lock);
  void queue(const vmx::Event& event) CLOISTER_REQUIRES(machine_.lock);
  /// One entry into the guest and the handling of its exit, whose reason it returns.
  vmx::ExitReason enter(u64 budget) CLOISTER_REQUIRES(machine_.lock);
  /// The guest runs, without the lock.
  vmx::Exit run_guest(u64 budget) CLOISTER_REQUIRES(machine_.lock);
  std::optional<Stop> handle(const vmx::Exit& exit) CLOISTER_REQUIRES(machine_.lock);
  void after_step(const vmx::Exit& exit) CLOISTER_REQUIRES(machine_.lock);
  void count(const vmx::Exit& exit);
  /// When a timer of its own or of the machine is due.
  std::optional<u64> next_deadline() const CLOISTER_REQUIRES(machine_.lock);
  /// Instructions until something other than the guest has to be looked at.
  u64 host_budget() CLOISTER_REQUIRES(machine_.lock);
  u64 deterministic_budget(u64 most) CLOISTER_REQUIRES(machine_.lock);
  bool poll_is_due() CLOISTER_REQUIRES(machine_.lock);
  /// RunOptions::shutdown.
  void follow_shutdown() CLOISTER_REQUIRES(machine_.lock);
  /// Passes time while the processor is halted (host clock).
  void idle() CLOISTER_REQUIRES(machine_.lock);
  /// Waits for input, if this is the bootstrap processor's, and for a notice; zero looks without waiting.
  void wait(std::chrono::nanoseconds wait) CLOISTER_REQUIRES(machine_.lock);

  Processor& processor_;
  Machine& machine_;
  const RunOptions& options_;
  gdb::Debugger* debugger_;
  Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> button_pressed_;
  Clock::time_point next_press_;
  bool was_asleep_ = false;  ///< when its button was pressed first
  u64 next_poll_ = 0;        ///< host clock: TSC
  u64 counted_ = 0;          ///< of the processor's instructions, those that RunOptions::counts has
};

}  // namespace cloister::hypervisor
