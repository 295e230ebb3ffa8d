// What both worlds must agree on after an instruction, and what the manual leaves open.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

/// Status flags that the manual leaves undefined after `instruction` in this state (SDM vol. 2, "Flags Affected").
u64 undefined_flags(const Instruction& instruction, const State& before, const State& after);
/// The destination is undefined: SHLD and SHRD by more than the operand's size.
bool undefined_destination(const Instruction& instruction, const State& before);
/// Bits of general register `n` that processors leave differently: the upper half of a 32-bit CMPXCHG's destination
/// that was not equal (SDM vol. 2A, CMPXCHG, writes it back; processors do not), and those of RCX, RSI and RDI
/// after a repeated string instruction with 32-bit addresses that faulted, or had nothing to do (Intel's clear some of
/// them).
u64 vendor_bits(const Instruction& instruction, const State& before, const Outcome& native, int n);

/// Bits of the x87 status word that the manual leaves undefined (SDM vol. 2, "FPU Flags Affected").
u16 undefined_x87_status(const Instruction& instruction, const State& before, const State& after);
/// TOP and tags after the instruction depend on the vendor: MMX instructions that fault (AMD has then left x87 state
/// already, Intel in part; SDM vol. 3A, 6.5: a fault changes nothing), and CVTPI2PS from memory (SDM vol. 2A: a
/// transition; Intel's sets TOP, AMD's nothing).
bool vendor_x87_stack(const Instruction& instruction, const Outcome& native);

/// How exactly floating-point results must agree.
enum class Tolerance : u8 {
  exact,
  reciprocal,      ///< RCPPS, RSQRTPS, …: relative error up to 1.5 * 2^-12 each
  transcendental,  ///< FSIN, F2XM1, …: 1 ulp each (SDM vol. 1, 8.3.10)
};
Tolerance tolerance_of(ZydisMnemonic mnemonic);

/// Offsets into the memory operand that are excluded: [from, to).
struct Range {
  u64 from = 0, to = 0;
};
using Ignored = std::array<Range, 2>;
/// FIP, FDP and FOP in x87 environments and save areas, because processors differ in when they record them, and
/// MXCSR_MASK, because AMD has a bit 17 (misaligned mode).
Ignored ignored_memory(const Instruction& instruction);
inline bool is_ignored(const Ignored& ranges, u64 offset) {
  return (offset >= ranges[0].from && offset < ranges[0].to) || (offset >= ranges[1].from && offset < ranges[1].to);
}
/// The instruction stores more than once: after a fault its memory is not compared (SDM vol. 3A, 6.5: not restartable
/// stores are allowed where the manual gives no order).
bool stores_in_parts(const Instruction& instruction);

/// Differences, one line each; empty: both agree.
std::vector<std::string> differences(const Instruction& instruction, const State& before, const Outcome& native,
                                     const Outcome& ours);

}  // namespace cloister::oracle
