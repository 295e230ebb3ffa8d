// One processor of a domain as its loop and the exit handlers see it, and the few things that they all do to the guest:
// finish an instruction, raise a fault.
//
// Everything here belongs to the machine's lock, but for `vcpu`, which between entry and exit belongs to the thread
// that runs it; nobody else touches it then but to kick it.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "host/fd.hpp"
#include "hypervisor/linear.hpp"
#include "hypervisor/mmio_bus.hpp"
#include "hypervisor/msr_file.hpp"

namespace cloister::hypervisor {

class Machine;

/// The last exits, for a crash report.
class ExitLog {
 public:
  struct Entry {
    u64 time = 0, rip = 0;
    vmx::Exit exit;
  };
  void add(const Entry& entry) { ring_[count_++ % ring_.size()] = entry; }
  /// Oldest first.
  std::vector<Entry> entries() const;

 private:
  std::array<Entry, 16> ring_{};
  u64 count_ = 0;
};

class Processor final : public MsrHost {
 public:
  /// Processor 0 is the bootstrap processor; the others wait for a start-up message.
  Processor(Machine& domain, vmx::Package& package, u32 number);
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  Machine& machine;
  const u32 id;  ///< its number and its APIC's ID
  const std::unique_ptr<vmx::Vcpu> own_vcpu;
  vmx::Vcpu& vcpu;
  platform::LocalApic local_apic;
  MmioBus bus;
  MsrFile msrs;
  vmx::Controls controls;
  ExitLog exits;

  std::optional<vmx::Event> event;  ///< goes into the guest at the next entry
  bool halted = false;              ///< in HLT: nothing runs until an event comes
  bool completed = false;           ///< the last exit's instruction was completed here (a debugger's step is over)
  bool nmi_waiting = false;         ///< taken from the local APIC, not yet delivered
  u64 root_leaves_at_entry = 0;     ///< RootLeaves::ended() when it last entered the guest

  // ---- INIT and SIPI (SDM vol. 3A, 9.4)
  bool init_wanted = false;        ///< an INIT message came
  bool waits_for_startup;          ///< after INIT: executes nothing until a SIPI comes
  std::optional<u8> startup_page;  ///< a SIPI's vector that came since
  /// Does what INIT and SIPI messages asked for.
  void take_startup_messages();
  /// As after power-up, but for the silicon's own MSRs: it waits for a start-up message. What the bootstrap processor
  /// does instead is the caller's to say.
  void power_up();

  // ---- what its thread does
  enum class Activity : u8 { handling, running, waiting };
  Activity activity = Activity::handling;
  bool stuck = false;  ///< it waits, and no event of its own will ever come
  /// Something for this processor has changed: it looks soon.
  void notify();
  /// Becomes readable when notify() wakes a waiting processor; look with drain().
  int wake_descriptor() const { return wake_.get(); }
  void drain();

  u64 now() override { return vcpu.tsc(); }

  /// Completes the instruction that exited: stores `general` with RIP after the instruction, ends the interrupt shadow,
  /// clears RF, and raises the single-step trap if TF is set.
  void complete(const vmx::Exit& exit, vmx::GeneralRegs general);
  void complete(const vmx::Exit& exit) { complete(exit, vcpu.general()); }
  /// Queues an exception at the instruction that exited.
  void raise(const Fault& fault);
  void raise_ud() { raise({arch::vector::ud, std::nullopt, 0}); }
  void raise_gp() { raise({arch::vector::gp, 0, 0}); }

  /// The guest's linear memory in its present mode.
  LinearMemory linear(const vmx::SystemRegs& system, u64 rflags);

  std::optional<u64> read_silicon(u32 index) override { return vcpu.read_msr(index); }
  bool write_silicon(u32 index, u64 value) override { return vcpu.write_msr(index, value); }
  platform::LocalApic& apic() override { return local_apic; }
  void apic_written(const std::optional<platform::InterruptMessage>& sent) override;

 private:
  /// Table 10-1's registers after INIT.
  void reset_registers();
  Fd wake_;
};

}  // namespace cloister::hypervisor
