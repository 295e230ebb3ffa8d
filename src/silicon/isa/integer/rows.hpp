// The rows of general-purpose instructions; each is defined in the file of its name.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> integer_rows();
std::span<const Row> bit_rows();
std::span<const Row> string_rows();
std::span<const Row> branch_rows();
std::span<const Row> stack_rows();
std::span<const Row> legacy_rows();  ///< AAA, BOUND, … and other instructions of 32-bit code alone

}  // namespace cloister::silicon
