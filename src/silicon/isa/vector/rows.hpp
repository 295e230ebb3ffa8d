// The rows of SSE, MMX, AES and SHA instructions, and of FXSAVE and XSAVE.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> sse_rows();
std::span<const Row> sse_integer_rows();
std::span<const Row> mmx_rows();
std::span<const Row> crypto_rows();
std::span<const Row> xsave_rows();

}  // namespace cloister::silicon
