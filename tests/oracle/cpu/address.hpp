// Where memory operands point, and the register values that make them point there.
#pragma once

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

/// A linear address for an operand of `bytes`: mostly inside the data, sometimes across a page or off the data's end,
/// sometimes unmapped, in the upper half, or (64-bit addresses) not canonical.
u64 pick_target(Random& random, unsigned bytes, unsigned address_width);

inline u16 random_selector(Random& random) { return random.of(selector::all); }

/// Changes base and index registers so that the operand's linear address is `target`, as nearly as they can.
void aim(State& state, const Instruction& instruction, const ZydisDecodedOperand& operand, u64 target, Random& random);

/// The operand's linear address in `state` (SDM vol. 1, 3.7.5).
u64 linear_address(const State& state, const Instruction& instruction, const ZydisDecodedOperand& operand);

}  // namespace cloister::oracle
