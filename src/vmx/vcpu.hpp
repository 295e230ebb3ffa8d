// One logical processor in non-root mode. The hypervisor reads and writes register groups by value, sets controls,
// runs, and gets an Exit.
//
// Threads: a Vcpu belongs to the thread that calls run(); only kick() may be called from another one. Several Vcpus of
// one GuestMemory may run at the same time, each on its thread, or one after the other on one thread; others may be
// made and destroyed meanwhile. No call here is made for an instruction or a memory access of a guest.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/cpuid.hpp"
#include "vmx/controls.hpp"
#include "vmx/execution.hpp"
#include "vmx/exit.hpp"
#include "vmx/regs.hpp"
#include "vmx/time.hpp"

namespace cloister::vmx {

/// Result of a leaf that root mode ran: a fault's vector, or RAX (0 or an SGX error code).
struct EnclsResult {
  std::optional<u8> fault;  ///< vector, if it faulted
  u64 rax = 0;
  std::optional<arch::Mfn> page{};  ///< #PF in root mode that is about an EPC operand: the operand's frame
};

/// How often an instruction that is not implemented was executed.
struct Unimplemented {
  std::string what;  ///< the mnemonic: "vaddps"
  u64 count = 0;
  u64 first_rip = 0;
  /// Who has it says so by all of these bits of CPUID; none: every processor has it. Where the guest's CPUID lacks one,
  /// #UD is what the manual asks for.
  std::vector<arch::CpuidBit> offered_by{};
};

/// What CPUID answers to one leaf and sub-leaf.
struct CpuidEntry {
  u32 leaf = 0, subleaf = 0;
  arch::CpuidRegs regs;
};

class Vcpu {
 public:
  struct Config {
    u32 apic_id = 0;
    ClockMode clock = ClockMode::host;
    u64 seed = 0;          ///< of RDRAND and RDSEED under the deterministic clock
    Time* time = nullptr;  ///< shared with others; null: its own
  };

  Vcpu() = default;
  virtual ~Vcpu() = default;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  /// Runs until an exit, at most `budget` instructions (then preemption_timer).
  virtual Exit run(u64 budget) = 0;
  /// Makes run() return external_interrupt soon. Any thread, any time; not lost if run() is not executing.
  virtual void kick() noexcept = 0;

  virtual GeneralRegs general() const = 0;
  virtual void set_general(const GeneralRegs& regs) = 0;
  virtual SystemRegs system() const = 0;
  /// Loads the system registers without the checks of guest software; flushes all translations.
  virtual void set_system(const SystemRegs& regs) = 0;
  virtual FxsaveImage fpu() const = 0;
  virtual void set_fpu(const FxsaveImage& image) = 0;
  virtual UpperHalves upper_halves() const = 0;
  virtual void set_upper_halves(const UpperHalves& halves) = 0;

  /// What the guest may have, before the first run(). CPUID exits wherever VMX is, and the hypervisor answers; this is
  /// for an implementation that must know it beforehand. Another one ignores it.
  virtual void set_cpuid(std::span<const CpuidEntry> entries) = 0;
  /// An MSR that the silicon keeps. nullopt / false: no such MSR, or a value that it refuses (#GP for a guest).
  virtual std::optional<u64> read_msr(u32 index) const = 0;
  virtual bool write_msr(u32 index, u64 value) = 0;
  /// XSETBV's effect after its exit; false: #GP.
  virtual bool set_xcr0(u64 value) = 0;

  virtual void set_controls(const Controls& controls) = 0;
  /// Delivers `event` through the IDT at the next run(), before any instruction.
  virtual void inject(const Event& event) = 0;
  /// An external interrupt could be delivered now: IF set, no STI or MOV SS shadow, nothing waiting.
  virtual bool interruptible() const = 0;
  /// An NMI could be delivered now: none in service, no STI or MOV SS shadow.
  virtual bool nmi_interruptible() const = 0;
  /// Ends the shadow of STI and MOV SS; after emulating an instruction.
  virtual void clear_interrupt_shadow() = 0;
  virtual Interruptibility interruptibility() const = 0;
  virtual void set_interruptibility(const Interruptibility& state) = 0;

  /// The time, in tsc_hz: the time stamp counter without IA32_TSC_ADJUST, which is the guest's affair.
  virtual u64 tsc() const = 0;
  /// Deterministic clock: moves time on to `tsc` (an idle processor's timer is due). No effect if it is past.
  virtual void skip_to(u64 tsc) = 0;
  /// Deterministic clock: how many numbers of the seed's RDRAND and RDSEED have drawn. Another processor of the seed
  /// goes on behind so many.
  virtual u64 drawn() const = 0;
  virtual void set_drawn(u64 numbers) = 0;
  /// Guest instructions retired since creation.
  virtual u64 instructions() const = 0;
  /// What ran them.
  virtual Execution execution() const = 0;
  /// What raised #UD because it is not implemented.
  virtual std::vector<Unimplemented> unimplemented() const = 0;
  /// Called with the leaf and result of every ENCLS executed without an exit; empty: none. For traces.
  virtual void set_encls_observer(std::function<void(u32 leaf, u64 rcx, EnclsResult)> observer) = 0;
};

}  // namespace cloister::vmx
