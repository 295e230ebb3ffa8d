// The loop of one processor: bring its APIC up to now, inject what is pending, run, handle the exit; wait while halted.
// The bootstrap processor's loop also looks at the world outside: console, debugger, stop flag, time limit.
#pragma once

#include <chrono>
#include <mutex>

#include "hypervisor/gdb/debugger.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

class VcpuLoop {
 public:
  using Lock = std::unique_lock<std::mutex>;  ///< of the machine; held

  /// debugger: null for none.
  VcpuLoop(Processor& processor, const RunOptions& options, gdb::Debugger* debugger)
      : processor_(processor), machine_(processor.machine), options_(options), debugger_(debugger) {}

  /// Until the domain ends, on a thread of its own (host clock).
  void run(Lock& lock);
  /// At most about `most` instructions, to the next message to another processor, or until it is halted or spins
  /// (deterministic clock). False if it was halted, or held back, all along.
  bool turn(Lock& lock, u64 most);
  /// Console, debugger, stop flag, time limit; may end the domain.
  void poll_outside();
  /// As poll_outside(), after waiting at most `wait` for input from console or debugger, or for a notice.
  void wait_outside(Lock& lock, std::chrono::nanoseconds wait);
  /// Waits as long as the debugger, or a pause of the domain, holds this processor back.
  void wait_while_held(Lock& lock);

  /// The stop flag has no descriptor to wait on.
  static constexpr std::chrono::nanoseconds longest_wait = std::chrono::milliseconds(50);

 private:
  using Clock = std::chrono::steady_clock;

  bool bootstrap() const { return processor_.id == 0; }
  bool held() const { return machine_.paused || (debugger_ != nullptr && debugger_->holds(processor_)); }
  bool stepping() const { return debugger_ != nullptr && debugger_->steps(processor_); }
  bool asleep() const { return processor_.halted || processor_.waits_for_startup; }

  /// What has come since the last entry: start-up messages, timers, interrupts.
  void prepare();
  /// Chooses the event for the next entry, or asks for an exit when it can be delivered.
  void prepare_events();
  void queue(const vmx::Event& event);
  /// One entry into the guest and the handling of its exit, whose reason it returns.
  vmx::ExitReason enter(Lock& lock, u64 budget);
  std::optional<Stop> handle(const vmx::Exit& exit);
  void after_step(const vmx::Exit& exit);
  void count(const vmx::Exit& exit);
  /// When a timer of its own or of the machine is due.
  std::optional<u64> next_deadline() const;
  /// Instructions until something other than the guest has to be looked at.
  u64 host_budget();
  u64 deterministic_budget(u64 most);
  bool poll_is_due();
  /// RunOptions::shutdown.
  void follow_shutdown();
  /// Passes time while the processor is halted (host clock).
  void idle(Lock& lock);
  /// Waits for input, if this is the bootstrap processor's, and for a notice; zero looks without waiting.
  void wait(Lock& lock, std::chrono::nanoseconds wait);

  Processor& processor_;
  Machine& machine_;
  const RunOptions& options_;
  gdb::Debugger* debugger_;
  Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> button_pressed_;
  u64 next_poll_ = 0;  ///< host clock: TSC
  u64 counted_ = 0;    ///< of the processor's instructions, those that RunOptions::counts has
};

}  // namespace cloister::hypervisor
