// A domain's parts as the loop and the exit handlers see them, and the few things that they all do to the guest: finish
// an instruction, raise a fault, route an interrupt message.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/console.hpp"
#include "hypervisor/domain.hpp"
#include "hypervisor/linear.hpp"
#include "hypervisor/mmio_bus.hpp"
#include "hypervisor/msr_file.hpp"
#include "hypervisor/trace.hpp"

namespace cloister::hypervisor {

/// The end of a domain, and why.
struct Stop {
  Ending ending = Ending::crashed;
  std::string reason;  ///< crashed: one sentence; the register dump is added to it
};

/// The last exits, for a crash report.
class ExitLog {
 public:
  struct Entry {
    u64 time = 0, rip = 0;
    silicon::Exit exit;
  };
  void add(const Entry& entry) { ring_[count_++ % ring_.size()] = entry; }
  /// Oldest first.
  std::vector<Entry> entries() const;

 private:
  std::array<Entry, 16> ring_{};
  u64 count_ = 0;
};

class Machine final : public MsrHost {
 public:
  Machine(silicon::Package& package, DomainSpec domain);

  DomainSpec spec;
  unsigned physical_bits;
  silicon::GuestMemory memory;
  silicon::Vcpu vcpu;
  platform::LocalApic local_apic;
  platform::IoApic ioapic;
  Console console;
  platform::Uart16550 uart;
  platform::PowerControl power;
  MmioBus bus;
  MsrFile msrs;
  silicon::Controls controls;
  Trace trace;
  ExitLog exits;

  std::optional<silicon::Event> event;  ///< goes into the guest at the next entry
  bool halted = false;                  ///< in HLT: nothing runs until an event comes
  bool completed = false;               ///< the last exit's instruction was completed here (a debugger's step is over)

  u64 now() override { return vcpu.tsc(); }
  bool deterministic() const { return spec.clock == silicon::ClockMode::deterministic; }

  /// Completes the instruction that exited: stores `general` with RIP after the instruction, ends the interrupt shadow,
  /// clears RF, and raises the single-step trap if TF is set.
  void complete(const silicon::Exit& exit, silicon::GeneralRegs general);
  void complete(const silicon::Exit& exit) { complete(exit, vcpu.general()); }
  /// Queues an exception at the instruction that exited.
  void raise(const Fault& fault);
  void raise_ud() { raise({arch::vector::ud, std::nullopt, 0}); }
  void raise_gp() { raise({arch::vector::gp, 0, 0}); }

  /// An interrupt message from the I/O APIC or the local APIC's ICR.
  void deliver(const platform::InterruptMessage& message);

  /// The guest's linear memory in its present mode.
  LinearMemory linear(const silicon::SystemRegs& system, u64 rflags);

  std::optional<u64> read_silicon(u32 index) override { return vcpu.read_msr(index); }
  bool write_silicon(u32 index, u64 value) override { return vcpu.write_msr(index, value); }
  platform::LocalApic& apic() override { return local_apic; }
  void apic_written(const std::optional<platform::InterruptMessage>& sent) override;
};

}  // namespace cloister::hypervisor
