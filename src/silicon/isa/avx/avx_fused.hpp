// Exceptions of fused multiplication and addition, and of conversion to 16 bits, while one is unmasked.
#pragma once

#include "silicon/isa/avx/avx.hpp"

namespace cloister::silicon {

bool fused_exception(Cpu& cpu, const Op* op, const AvxValues& v, bool wide);
bool half_exception(Cpu& cpu, const Op* op, const AvxValues& v, bool wide);

}  // namespace cloister::silicon
