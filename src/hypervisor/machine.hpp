// A domain's parts: what its processors share, the processors, and the way of interrupt messages between them.
//
// `lock` guards everything here and in the processors. A processor's thread holds it always, but while the guest runs
// and while it waits; exit handlers need not think of it. So what only they and the loops use says nothing of it; what
// others use does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/console.hpp"
#include "hypervisor/outcome.hpp"
#include "hypervisor/processor.hpp"
#include "hypervisor/specification.hpp"
#include "hypervisor/trace.hpp"
#include "platform/rtc.hpp"

namespace cloister::hypervisor {

/// The end of a domain, and why.
struct Stop {
  Ending ending = Ending::crashed;
  std::string reason;  ///< crashed or halted: one sentence; a crash's register dump is added to it
};

class Machine {
 public:
  Machine(vmx::Package& owner, DomainSpec domain);

  vmx::Package& package;
  DomainSpec spec;
  /// The machine frames of spec.map.epc, in order; set when the domain is laid out.
  std::vector<vmx::EpcSection> epc;
  /// How many leaves of ENCLS and ENCLV the hypervisor has run on these frames itself.
  u64 root_leaves = 0;
  unsigned physical_bits;
  const std::unique_ptr<vmx::GuestMemory> own_memory;
  vmx::GuestMemory& memory;
  vmx::Time time;
  platform::IoApic ioapic;
  Console console;
  platform::Uart16550 uart;
  platform::PowerControl power;
  platform::Rtc rtc;
  bool crash_kernel_runs = false;  ///< the guest said so, by pvpanic
  Trace trace;
  std::function<void(std::string_view)> note;  ///< RunOptions::note; empty: nobody listens
  std::function<void()> fell_asleep;           ///< RunOptions::fell_asleep
  u32 exception_bitmap = 0;  ///< a debugger's; each processor takes it over before it enters the guest
  std::vector<std::unique_ptr<Processor>> processors;

  Mutex lock;
  /// How the domain ended, once it has, and the processor that ended it.
  std::optional<Stop> stop CLOISTER_GUARDED_BY(lock);
  u32 stopped_by CLOISTER_GUARDED_BY(lock) = 0;
  /// Ends the domain, unless it has ended already, and tells every processor.
  void end(Stop how, const Processor& by) CLOISTER_REQUIRES(lock);

  /// While set no processor enters the guest. pause() returns when none is in it.
  bool paused CLOISTER_GUARDED_BY(lock) = false;
  void pause() CLOISTER_EXCLUDES(lock);
  void unpause() CLOISTER_EXCLUDES(lock);

  /// S3 (sleep.cpp): the guest has asked for it; it falls asleep; it sleeps until it is woken.
  enum class Sleep : u8 { awake, falling_asleep, asleep };
  bool sleep_asked = false;
  Sleep sleep CLOISTER_GUARDED_BY(lock) = Sleep::awake;
  /// Takes the processors' state and the EPC away, once no processor is in the guest. A Stop if it cannot.
  std::optional<Stop> fall_asleep() CLOISTER_REQUIRES(lock);
  /// False: it does not sleep.
  bool wake() CLOISTER_REQUIRES(lock);

  /// No processor may enter the guest.
  bool held() const CLOISTER_REQUIRES(lock) { return paused || sleep != Sleep::awake; }

  void press_power_button() CLOISTER_REQUIRES(lock);
  /// False: the processor waits for its start-up message, and takes none (SDM vol. 3A, 9.4).
  bool send_nmi(Processor& to) CLOISTER_REQUIRES(lock);

  bool deterministic() const { return spec.clock == vmx::ClockMode::deterministic; }
  Processor& bootstrap() { return *processors.front(); }
  u64 now() { return bootstrap().now(); }
  /// The machine frame of an EPC page of the guest's; nullopt: it is none.
  std::optional<arch::Mfn> frame_of(arch::Gpa page) const;

  /// An interrupt message from the I/O APIC, or from the ICR of `sender`.
  void deliver(const platform::InterruptMessage& message, const Processor* sender);
  /// How many messages went from one processor to another: a turn under the deterministic clock ends with one.
  u64 messages = 0;

 private:
  void accept(Processor& processor, const platform::InterruptMessage& message);
  bool nobody_runs() const CLOISTER_REQUIRES(lock);
  friend class VcpuLoop;
  Condition left_guest_;  ///< a processor left the guest while held()
};

}  // namespace cloister::hypervisor
