// Exceptions of the steps of a dot product while one is unmasked (SDM vol. 2, DPPS, DPPD).
#pragma once

#include "silicon/isa/vector/sse_exception.hpp"

namespace cloister::silicon {

/// The steps again, one by one, for their flags; bits 7:4 of the operation's immediate choose the elements. True: one
/// raised an exception.
bool dpps_exception(Cpu& cpu, const Op* op, __m128i a, __m128i b);
bool dppd_exception(Cpu& cpu, const Op* op, __m128i a, __m128i b);

}  // namespace cloister::silicon
