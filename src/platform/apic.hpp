// The local APIC (SDM vol. 3A, ch. 11): xAPIC registers at 0xFEE00000, x2APIC MSRs 0x800-0x8FF, one-shot, periodic and
// TSC-deadline timers. Times are absolute TSC cycles (silicon::tsc_hz per second).
#pragma once

#include <array>
#include <optional>

#include "arch/types.hpp"

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
  /// timer_hz: input clock of the timer before its divider (CPUID 0x15's crystal).
  LocalApic(u32 apic_id, u64 tsc_hz, u64 timer_hz);

  /// IA32_APIC_BASE: false for a write that raises #GP (reserved bits, x2APIC to xAPIC directly).
  u64 base_msr() const;
  bool set_base_msr(u64 value);
  bool x2apic() const;
  bool enabled() const;  ///< globally, by IA32_APIC_BASE
  u64 mmio_base() const;

  /// xAPIC register access: offset from the base, 4 bytes each, on 16-byte boundaries. `now` in TSC cycles.
  u32 read(u32 offset, u64 now);
  /// Returns an interrupt message if the write sent one.
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

  /// An interrupt arrives (fixed or lowest priority).
  void accept(u8 vector, bool level);
  /// An NMI waits (from LINT1, ICR); take_nmi() clears it.
  bool take_nmi();
  void accept_nmi();
  /// True if this APIC is addressed by the message.
  bool matches(const InterruptMessage& message) const;

  /// The vector that the processor would take now: highest in IRR above PPR; nullopt if none.
  std::optional<u8> pending() const;
  /// Interrupt acknowledge: moves `pending()` from IRR to ISR. Precondition: pending() is not empty.
  u8 acknowledge();
  /// A level-triggered EOI that the IOAPIC must hear of; clears it.
  std::optional<u8> take_eoi_broadcast();

  /// INIT or reset.
  void reset();

 private:
  struct Private;
  // The implementer replaces this with the registers; the public part is the contract.
};

}  // namespace cloister::platform
