// The local APIC (SDM vol. 3A, ch. 11): xAPIC registers at 0xFEE00000, x2APIC MSRs 0x800-0x8FF, one-shot, periodic and
// TSC-deadline timers. Times are absolute TSC cycles (vmx::tsc_hz per second).
#pragma once

#include <array>
#include <optional>

#include "arch/types.hpp"
#include "platform/apic_timer.hpp"
#include "platform/vector_set.hpp"

namespace cloister::platform {

inline constexpr u64 apic_default_base = 0xfee0'0000;

/// An interrupt message for other local APICs (from ICR or an IOAPIC entry).
struct InterruptMessage {
  u32 destination = 0;
  bool logical = false;
  u8 shorthand = 0;  ///< ICR only: 0 none, 1 self, 2 all, 3 all but self
  u8 delivery = 0;   ///< 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 SIPI
  u8 vector = 0;
  bool level = false;
};

class LocalApic {
 public:
  struct Registers {
    u64 base = 0;  ///< IA32_APIC_BASE
    u32 task_priority = 0, logical_destination = 0, destination_format = 0, spurious = 0;
    u32 command_low = 0, command_high = 0;
    u32 errors = 0, new_errors = 0;  ///< ESR as last latched, and what is latched next
    std::array<u32, 6> lvt{};        ///< timer, thermal, performance, LINT0, LINT1, error
    VectorSet irr{}, isr{}, tmr{}, eoi_broadcasts{};
    bool nmi = false;
    bool operator==(const Registers&) const = default;
  };
  /// All that it remembers.
  struct State {
    Registers registers{};
    ApicTimer::State timer{};
    bool operator==(const State&) const = default;
  };
  /// timer_hz: input clock of the timer before its divider (CPUID 0x15's crystal). The APIC with ID 0 is the bootstrap
  /// processor's.
  LocalApic(u32 apic_id, u64 tsc_hz, u64 timer_hz);
  State state() const { return {registers_, timer_.state()}; }
  /// No other state is to be set.
  static bool can_be(const State& state) { return ApicTimer::can_be(state.timer); }
  /// Goes on where another was, of the same ID and clocks.
  void set_state(const State& state) {
    registers_ = state.registers;
    timer_.set_state(state.timer);
  }

  /// IA32_APIC_BASE: false for a write that raises #GP (reserved bits, x2APIC to xAPIC directly).
  u64 base_msr() const;
  bool set_base_msr(u64 value);
  bool x2apic() const;
  bool enabled() const;  ///< globally, by IA32_APIC_BASE
  u64 mmio_base() const;

  /// xAPIC register access: offset from the base, 4 bytes each, on 16-byte boundaries. `now` in TSC cycles.
  u32 read(u32 offset, u64 now);
  /// Returns an interrupt message if the write sent one. Self-IPIs never are: they are accepted here.
  std::optional<InterruptMessage> write(u32 offset, u32 value, u64 now);
  /// x2APIC register access by MSR number; nullopt / false: #GP.
  std::optional<u64> read_msr(u32 index, u64 now);
  bool write_msr(u32 index, u64 value, u64 now, std::optional<InterruptMessage>& sent);

  u64 tsc_deadline() const;
  void set_tsc_deadline(u64 value, u64 now);

  u8 cr8() const;
  void set_cr8(u8 value);

  /// Brings timers up to `now`: sets the timer's vector in IRR where one is due.
  void advance(u64 now);
  /// When advance() is next due, absolute TSC cycles; nullopt if no timer runs.
  std::optional<u64> next_deadline() const;

  /// An interrupt arrives (fixed or lowest priority); ignored while the APIC is disabled.
  void accept(u8 vector, bool level);
  /// An NMI waits (from LINT1, ICR); take_nmi() clears it.
  bool take_nmi();
  void accept_nmi();
  /// True if this APIC is addressed by the message. For shorthand 3 the caller leaves out the sender.
  bool matches(const InterruptMessage& message) const;

  /// The vector that the processor would take now: highest in IRR above PPR; nullopt if none.
  std::optional<u8> pending() const;
  /// Interrupt acknowledge: moves `pending()` from IRR to ISR; the spurious vector if there is none any more.
  u8 acknowledge();
  /// A level-triggered EOI that the IOAPIC must hear of; clears it. Ask until there is none.
  std::optional<u8> take_eoi_broadcast();

  /// Power-up or RESET.
  void reset();
  /// INIT: as reset, but IA32_APIC_BASE and so the mode stay (11.4.7.3).
  void init();

 private:
  bool software_enabled() const;
  bool masked(unsigned lvt) const;
  u8 priority() const;
  u32 logical_id() const;
  void clear_registers();
  void raise_error(u32 bit);
  void end_of_interrupt();
  void write_spurious(u32 value);
  void write_lvt(unsigned lvt, u32 value);
  std::optional<InterruptMessage> send(u32 command, u32 destination);
  std::optional<u32> read_register(u32 number, u64 now) const;
  bool write_register(u32 number, u32 value, u64 now, std::optional<InterruptMessage>& sent);

  u32 id_;
  Registers registers_;
  ApicTimer timer_;
};

}  // namespace cloister::platform
