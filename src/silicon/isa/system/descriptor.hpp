// Segment descriptors and selectors (SDM vol. 3A, 3.4 and 3.5; system descriptors of IA-32e mode, 3.5 and 5.8).
#pragma once

#include <tl/expected.hpp>

#include "silicon/mmu/mmu.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

struct Selector {
  u16 value = 0;
  constexpr unsigned rpl() const { return value & 3; }
  constexpr bool local() const { return (value & 4) != 0; }
  constexpr u32 offset() const { return value & 0xfff8u; }
  constexpr bool null() const { return (value & 0xfffc) == 0; }
  /// As an error code (SDM vol. 3A, 6.13): index and TI.
  constexpr u32 error() const { return value & 0xfffcu; }
};

/// System descriptor types (SDM vol. 3A, table 3-2).
namespace system_type {
inline constexpr u32 tss16 = 1, ldt = 2, tss16_busy = 3, call_gate16 = 4, task_gate = 5, interrupt_gate16 = 6,
                     trap_gate16 = 7, tss = 9, tss_busy = 11, call_gate = 12, interrupt_gate = 14, trap_gate = 15;
}

/// A code, data or system-segment descriptor, 8 bytes, or 16 for system descriptors in IA-32e mode.
struct Descriptor {
  u64 low = 0, high = 0;

  /// Attributes in Segment's form.
  constexpr u32 attributes() const { return static_cast<u32>(low >> 40) & 0xf0ff; }
  constexpr u32 limit() const {
    const u32 raw = static_cast<u32>(low & 0xffff) | (static_cast<u32>(low >> 32) & 0xf0000);
    return (attributes() & attr::g) != 0 ? (raw << 12) | 0xfff : raw;
  }
  constexpr u64 base() const { return ((low >> 16) & 0xff'ffff) | ((low >> 32) & 0xff00'0000) | (high << 32); }
  constexpr bool present() const { return (attributes() & attr::present) != 0; }
  constexpr bool system() const { return (attributes() & attr::s) == 0; }
  constexpr u32 type() const { return attributes() & attr::type; }
  constexpr unsigned dpl() const { return attr::dpl_of(attributes()); }
  constexpr bool is_code() const { return !system() && (type() & attr::code) != 0; }
  constexpr bool is_data() const { return !system() && (type() & attr::code) == 0; }
  constexpr bool conforming() const { return (type() & attr::conforming) != 0; }

  constexpr Segment segment(u16 selector) const { return {selector, base(), limit(), attributes()}; }

  // The fields of gates (SDM vol. 3A, figures 5-8 and 6-8).
  constexpr u16 gate_selector() const { return static_cast<u16>(low >> 16); }
  constexpr u64 gate_offset() const { return (low & 0xffff) | ((low >> 32) & 0xffff'0000) | (high << 32); }
  constexpr unsigned gate_ist() const { return static_cast<unsigned>(low >> 32) & 7; }
  constexpr unsigned gate_parameters() const { return static_cast<unsigned>(low >> 32) & 31; }
};

/// A fault as a Miss.
constexpr Miss fault_miss(u8 vector, u32 error) { return {.fault = {vector, true, error, 0}, .exit = {}}; }

/// The descriptor that a selector names; outside its table's limit: `vector`(selector | ext). `wide`: read 16 bytes.
tl::expected<Descriptor, Miss> read_descriptor(Cpu& cpu, Selector selector, bool wide, u8 vector = arch::vector::gp,
                                               u32 ext = 0);
/// Sets the accessed flag of a code or data descriptor in its table, and in `d`.
tl::expected<void, Miss> mark_accessed(Cpu& cpu, Selector selector, Descriptor& d);
/// Marks a TSS descriptor busy or available.
tl::expected<void, Miss> mark_busy(Cpu& cpu, Selector selector, bool busy);

/// MOV or POP to a data-segment register, LDS and its kin (SDM vol. 2B, MOV: "Loading a segment register").
tl::expected<void, Miss> load_data_segment(Cpu& cpu, arch::SegReg reg, u16 selector);
/// Checks a stack segment for the privilege level (SS load on a change of privilege): faults are `vector`.
tl::expected<Segment, Miss> check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, u8 vector, u32 ext);
/// Makes a segment register unusable, as a null selector does.
constexpr Segment null_segment(u16 selector) { return {selector, 0, 0, attr::unusable}; }

/// The stack that the TSS has for privilege level `cpl`: RSPn in 64-bit TSSs, SSn:ESPn in others.
struct TssStack {
  u16 ss;
  u64 sp;
};
tl::expected<TssStack, Miss> tss_stack(Cpu& cpu, unsigned cpl, unsigned ist, u32 ext);

}  // namespace cloister::silicon
