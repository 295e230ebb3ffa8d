// The rows of VEX-encoded vector instructions.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> avx_rows();

}  // namespace cloister::silicon
