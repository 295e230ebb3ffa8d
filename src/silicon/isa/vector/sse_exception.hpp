// Overflow, underflow and inexact results of SSE arithmetic while overflow or underflow is unmasked (SDM vol. 1,
// 4.9.1.4 to 4.9.1.6).
//
// The host runs with every exception masked, and then an overflow is always inexact, and an exact denormal is no
// underflow. With the exception unmasked, a tiny result is an underflow even when exact, and the result is inexact only
// if it would be with any exponent. So each element is computed again with the x87's wide exponent.
#pragma once

#include <emmintrin.h>

#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

/// The elements of a result.
enum class Lanes : u8 {
  integer,  ///< no floating-point exceptions at all
  exact,    ///< floating-point, but no overflow and no underflow
  ss,
  sd,
  ps,
  pd,
};

/// What an instruction computes for each element.
enum class Arithmetic : u8 { none, add, sub, mul, div, add_sub, add_pairs, sub_pairs, narrow };

/// Those of an operation's flags that are found before it computes.
constexpr u32 sse_before(u32 flags) { return flags & (mxcsr::ie | mxcsr::ze | mxcsr::de); }
/// With the host's flags of an operation: its others must be computed anew.
bool sse_needs_arithmetic(const Cpu& cpu, u32 flags);
/// O, U and P of result = a op b.
u32 sse_arithmetic_flags(const Cpu& cpu, Lanes lanes, Arithmetic what, __m128i a, __m128i b);

/// After result = a op b. True: an exception was raised.
bool sse_arithmetic_exception(Cpu& cpu, const Op* op, Lanes lanes, Arithmetic what, __m128i a, __m128i b);

}  // namespace cloister::silicon
