// CMPS reads two operands of equal rank. Where both fault, the manual has no word on whose fault is reported (SDM vol.
// 2A, CMPS; vol. 3A, table 6-2, orders classes of exceptions alone): processors differ, and either is right.
#pragma once

#include <functional>
#include <optional>

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

enum class Operand : u8 { source, destination };

/// Runs the bytes from a state, in one world, with the memory as it is.
using Run = std::function<Outcome(const State& state, std::span<const u8> code)>;

/// Whose fault `fault` is, if the instruction is CMPS and both of its operands fault in the state that the fault left:
/// LODS with the same prefixes reads the source alone, SCAS the destination. The fault must be one of those two, to the
/// error code and the address. nullopt: the order explains nothing.
std::optional<Operand> reported_first(const Instruction& instruction, const Outcome& fault, const Run& run);

}  // namespace cloister::oracle
