// Where processors of different makers end the same case differently, beside what the manual calls undefined. Software
// silicon does as Intel's do: on such a host nothing is passed over, on others these cases are, and are counted.
#pragma once

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

/// The host's processor is Intel's (SDM vol. 2A, CPUID, leaf 0). CLOISTER_ORACLE_VENDOR=other: it is taken for another.
bool intel_host();

/// Why the two outcomes of a case may both be right on this host, or null. For outcomes that differ.
const char* vendors_differ(const Instruction& instruction, const State& before, const Outcome& native,
                           const Outcome& ours);

/// REPNE CMPS and SCAS: a fault restores the flags (SDM vol. 2B, REP); others keep those of the last comparison.
bool fault_keeps_flags(const Instruction& instruction);

/// PUSH of a segment register with a 32-bit operand, which stores 16 bits (SDM vol. 2B, PUSH); others store 32.
bool pushes_half(const Instruction& instruction);

}  // namespace cloister::oracle
