// What single instructions need of their inputs to do something that matters, or that a process may do at all.
#pragma once

#include "oracle/cpu/inputs.hpp"

namespace cloister::oracle {

/// Before memory operands are aimed: repeat counts, bit offsets, branch targets, dividends.
void constrain_registers(const Instruction& instruction, State& state, Random& random);
/// After it: memory images, return addresses, comparands.
void constrain_memory(const Instruction& instruction, State& state, Random& random, Sandbox& memory);

}  // namespace cloister::oracle
