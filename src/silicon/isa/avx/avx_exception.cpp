// Floating-point exceptions of VEX-encoded instructions: both halves are looked at, and reported as one.
#include <emmintrin.h>

#include "silicon/isa/avx/avx.hpp"

namespace cloister::silicon {
namespace {

__m128i half(const Xmm& x) { return _mm_load_si128(reinterpret_cast<const __m128i*>(x.byte.data())); }

}  // namespace

bool avx_exception(Cpu& cpu, const Op* op, const AvxRow& row, const AvxValues& v, bool wide) {
  if (row.exception != nullptr) return row.exception(cpu, op, v, wide);
  u32 flags = take_sse_flags(cpu);
  if (row.lanes != Lanes::exact && sse_needs_arithmetic(cpu, flags)) {
    flags =
        sse_before(flags) | sse_arithmetic_flags(cpu, row.lanes, row.arithmetic, half(v.first.low), half(v.second.low));
    if (wide) flags |= sse_arithmetic_flags(cpu, row.lanes, row.arithmetic, half(v.first.high), half(v.second.high));
  }
  return sse_report(cpu, op, flags);
}

}  // namespace cloister::silicon
