// The rows of x87 instructions.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> x87_rows();

}  // namespace cloister::silicon
