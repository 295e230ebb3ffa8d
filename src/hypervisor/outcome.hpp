// A domain's run: what it is asked for, what may be seen of it meanwhile, and how it ended. Plain values.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmx/exit.hpp"
#include "vmx/vcpu.hpp"

namespace cloister::hypervisor {

/// halted: every processor is in HLT, and nothing will ever wake one. saved: it goes on another time, which only who
/// saved it knows.
enum class Ending : u8 { powered_off, reset, crashed, timed_out, stopped, halted, saved };
/// Who ended the run left the guest as it was: it may be saved, and go on.
constexpr bool from_outside(Ending ending) { return ending == Ending::stopped || ending == Ending::timed_out; }
/// "powered-off", … for logs.
const char* name_of(Ending ending);

struct Outcome {
  Ending ending = Ending::powered_off;
  std::string report;  ///< crashed: why, with a register dump; halted: why, in a sentence; empty otherwise
  u64 instructions = 0;
  vmx::Execution execution;                       ///< of all processors
  std::vector<vmx::Unimplemented> unimplemented;  ///< of what the domain's CPUID offers
};

/// Kinds of lines that a trace file can have: --trace=exits,encls,…
struct TraceOptions {
  bool exits = false, encls = false, unimplemented = false, msr = false, io = false, interrupts = false;
  /// Takes a line with its end, on any processor's thread, several at a time; empty: no trace.
  std::function<void(std::string_view)> out;
};

/// What a domain did so far, for whoever looks at it while it runs. Memory of the caller's, which may be shared with
/// other processes.
struct RunCounts {
  std::atomic<u64> instructions;  ///< guest instructions retired
  /// By basic exit reason; the preemption timer's are the ends of slices.
  std::array<std::atomic<u64>, vmx::exit_reasons> exits;

  void count(vmx::ExitReason reason) {
    const auto i = static_cast<std::size_t>(reason);
    if (i < exits.size()) exits[i].fetch_add(1, std::memory_order_relaxed);
  }
};

struct RunOptions {
  std::optional<std::chrono::milliseconds> timeout;
  /// A listening socket that does not wait, where GDB may connect; the caller's. -1: none.
  int gdb_listener = -1;
  TraceOptions trace;
  int console_in = -1;  ///< descriptor that the guest's serial port reads; -1: none
  std::function<void(std::span<const u8>)> console_out;
  const std::atomic<bool>* stop = nullptr;  ///< becomes true: end soon with `stopped`
  /// Becomes true: press the power button, and end with `stopped` if the guest still runs after shutdown_timeout.
  const std::atomic<bool>* shutdown = nullptr;
  std::chrono::seconds shutdown_timeout{60};
  /// Told what a guest's owner wants to hear of while it runs, in a few words; on the threads of console_out.
  std::function<void(std::string_view)> note;
  /// Called when the guest has suspended itself to RAM, until Domain::wake(); on a processor's thread, which must not
  /// wait for the domain's.
  std::function<void()> fell_asleep;
  /// Called on each processor's thread before it runs; where they take turns, on their one for the first.
  std::function<void(u32 vcpu)> begins;
  bool input_wakes = false;  ///< what can be read from console_in wakes it, too
  /// For tests: called when an exit has been handled, on its processor's thread, which holds nothing.
  std::function<void()> after_exit;
  /// Deterministic clock: called where every processor's turn has ended, and nobody holds anything. False: the domain
  /// ends with `stopped`.
  std::function<bool()> after_turns;
  /// For tests: of a lone processor's turns there, in instructions, which a guest cannot tell; 0: as it is.
  u64 turn_alone = 0;
  RunCounts* counts = nullptr;  ///< added to as the domain runs; null: none
};

}  // namespace cloister::hypervisor
