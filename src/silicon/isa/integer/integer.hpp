// The parts that integer_rows() is made of, one a file.
#pragma once

#include "silicon/isa/integer/rows.hpp"

namespace cloister::silicon {

std::span<const Row> alu_rows();        ///< integer_alu.cpp: ADD … NOT
std::span<const Row> move_rows();       ///< integer_move.cpp: MOV … XCHG, sign extension
std::span<const Row> condition_rows();  ///< conditional.cpp: CMOVcc, SETcc, flag instructions
std::span<const Row> muldiv_rows();     ///< muldiv.cpp: MUL … IDIV, MULX
std::span<const Row> shift_rows();      ///< shift.cpp: SHL … SHRD, BMI2 shifts
std::span<const Row> atomic_rows();     ///< atomic.cpp: XADD, CMPXCHG …
std::span<const Row> hint_rows();       ///< hint.cpp: NOP, fences, RDRAND …

}  // namespace cloister::silicon
