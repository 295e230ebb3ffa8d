// The hypervisor's door: a domain, from its specification to its end. Written against interface 1 (silicon.hpp) and the
// platform's devices, and nothing else.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "platform/memory_map.hpp"
#include "platform/pvh.hpp"
#include "platform/rtc.hpp"
#include "policy/policy.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {

inline constexpr u32 most_vcpus = 16;

/// Everything that a domain is made of; plain values, fixed before the first run.
struct DomainSpec {
  std::string name;
  platform::MemoryMap map;
  u32 vcpus = 1;  ///< 1 to most_vcpus
  policy::CpuidTable cpuid;
  policy::MsrPolicy msr;
  bool sgx_provision = false;  ///< enclaves may have ATTRIBUTES.PROVISIONKEY
  std::shared_ptr<const platform::KernelImage> kernel;
  std::shared_ptr<const std::vector<u8>> ramdisk;  ///< null: none
  std::string cmdline;
  silicon::ClockMode clock = silicon::ClockMode::host;
  platform::RtcTime date;        ///< what its clock chip starts with
  platform::RtcBattery battery;  ///< a former run's, whose setting of the chip is then kept
};

/// halted: every processor is in HLT, and nothing will ever wake one.
enum class Ending : u8 { powered_off, reset, crashed, timed_out, stopped, halted };

struct Outcome {
  Ending ending = Ending::powered_off;
  std::string report;  ///< crashed: why, with a register dump; halted: why, in a sentence; empty otherwise
  u64 instructions = 0;
  std::vector<silicon::Unimplemented> unimplemented;  ///< of what the domain's CPUID offers
};

/// Kinds of lines that a trace file can have: --trace=exits,encls,…
struct TraceOptions {
  bool exits = false, encls = false, unimplemented = false, msr = false, io = false, interrupts = false;
  std::string path;  ///< empty: no trace
};

/// What a domain did so far, for whoever looks at it while it runs. Memory of the caller's, which may be shared with
/// other processes.
struct RunCounts {
  std::atomic<u64> instructions;  ///< guest instructions retired
  /// By basic exit reason; the preemption timer's are the ends of slices.
  std::array<std::atomic<u64>, silicon::exit_reasons> exits;

  void count(silicon::ExitReason reason) {
    const auto i = static_cast<std::size_t>(reason);
    if (i < exits.size()) exits[i].fetch_add(1, std::memory_order_relaxed);
  }
};

struct RunOptions {
  std::optional<std::chrono::milliseconds> timeout;
  std::string gdb_socket;  ///< path of a Unix socket; empty: none
  TraceOptions trace;
  int console_in = -1;  ///< descriptor that the guest's serial port reads; -1: none
  std::function<void(std::span<const u8>)> console_out;
  const std::atomic<bool>* stop = nullptr;  ///< becomes true: end soon with `stopped`
  /// Becomes true: press the power button, and end with `stopped` if the guest still runs after shutdown_timeout.
  const std::atomic<bool>* shutdown = nullptr;
  std::chrono::seconds shutdown_timeout{60};
  /// Told what a guest's owner wants to hear of while it runs, in a few words; on the threads of console_out.
  std::function<void(std::string_view)> note;
  RunCounts* counts = nullptr;  ///< added to as the domain runs; null: none
};

class Domain {
 public:
  /// Lays out memory, ACPI, kernel and processors. `epc` are the machine frames for the map's EPC ranges, in order, as
  /// many pages as the ranges have. The package must outlive the domain.
  static tl::expected<std::unique_ptr<Domain>, std::string> create(silicon::Package& package, DomainSpec spec,
                                                                   std::vector<silicon::EpcSection> epc);
  ~Domain();
  /// Runs the domain to its end, on the calling thread and, with several vCPUs under the host's clock, on one more for
  /// each of the others. console_out is called on any of them, by one at a time.
  Outcome run(const RunOptions& options);

  // From any thread, at any time.
  /// No guest instruction runs after pause() has returned, until unpause(). Time goes on, as on a processor that is
  /// not scheduled: timers that came due meanwhile fire then.
  void pause();
  void unpause();
  bool paused() const;
  /// Presses the ACPI power button; a guest that listens powers itself off.
  void press_power_button();
  /// Ends the domain with `reset`, as its reset button would.
  void reset();
  /// What its clock chip keeps for the next run.
  platform::RtcBattery battery() const;

 private:
  Domain();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::hypervisor
