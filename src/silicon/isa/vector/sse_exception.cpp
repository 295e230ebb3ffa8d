// Flags of SSE arithmetic with overflow or underflow unmasked: see sse_exception.hpp.
#include "silicon/isa/vector/sse_exception.hpp"

#include "silicon/isa/x87/x87_host.hpp"

namespace cloister::silicon {
namespace {

CLOISTER_X87_LOAD(load_single, "flds (%[b])")
CLOISTER_X87_LOAD(load_double, "fldl (%[b])")
CLOISTER_X87_TWO(wide_add, "fadd %%st(1), %%st")
CLOISTER_X87_TWO(wide_sub, "fsub %%st(1), %%st")
CLOISTER_X87_TWO(wide_mul, "fmul %%st(1), %%st")
CLOISTER_X87_TWO(wide_div, "fdiv %%st(1), %%st")
CLOISTER_X87_STORE(store_single, "fsts (%[to])")
CLOISTER_X87_STORE(store_double, "fstl (%[to])")

struct Format {
  bool single;
  /// Exponent field in the extended format of the smallest normal value.
  u16 smallest() const { return single ? 0x3fff - 126 : 0x3fff - 1022; }
  u16 largest() const { return single ? 0x3fff + 127 : 0x3fff + 1023; }
};

/// An element of a vector as an extended value; with DAZ a denormal is a zero.
Float80 element(__m128i v, unsigned i, Format format, bool daz) {
  std::array<u8, 16> bytes;
  std::memcpy(bytes.data(), &v, 16);
  const u8* const at = bytes.data() + i * (format.single ? 4 : 8);
  Float80 x = (format.single ? load_single : load_double)({}, at, x87::control_initial).value;
  const u16 exponent = x.sign_exponent & 0x7fff;
  if (daz && exponent < format.smallest()) x = {0, static_cast<u16>(x.sign_exponent & 0x8000)};
  return x;
}

X87Operation operation_of(Arithmetic what, unsigned lane) {
  switch (what) {
    case Arithmetic::sub:
    case Arithmetic::sub_pairs: return wide_sub;
    case Arithmetic::mul: return wide_mul;
    case Arithmetic::div: return wide_div;
    case Arithmetic::add_sub: return lane % 2 == 0 ? wide_sub : wide_add;
    default: return wide_add;
  }
}

/// O, U and P of one element.
u32 lane_flags(const X87Result& wide, Format format, u32 unmasked, bool flush) {
  const u16 exponent = wide.value.sign_exponent & 0x7fff;
  if (exponent == 0x7fff || wide.value.mantissa == 0) return 0;  // from infinities, NaNs and zeros
  const u32 inexact = (wide.status & x87::pe) != 0 ? mxcsr::pe : 0;
  if (exponent > format.largest()) return mxcsr::oe | ((unmasked & mxcsr::oe) != 0 ? inexact : mxcsr::pe);
  if (exponent >= format.smallest()) return inexact;
  if ((unmasked & mxcsr::ue) != 0) return mxcsr::ue | inexact;
  if (flush) return mxcsr::ue | mxcsr::pe;
  const X87Stored denormal = (format.single ? store_single : store_double)(wide.value, x87::control_initial);
  return inexact != 0 || (denormal.status & x87::pe) != 0 ? mxcsr::ue | mxcsr::pe : 0;
}

u32 unmasked_by(u32 control) { return ~(control >> 7) & mxcsr::flags; }

}  // namespace

bool sse_needs_arithmetic(const Cpu& cpu, u32 flags) {
  const u32 unmasked = unmasked_by(cpu.fpu.mxcsr);
  return (sse_before(flags) & unmasked) == 0 && (unmasked & (mxcsr::oe | mxcsr::ue)) != 0;
}

u32 sse_arithmetic_flags(const Cpu& cpu, Lanes lanes, Arithmetic what, __m128i a, __m128i b) {
  const u32 control = cpu.fpu.mxcsr, unmasked = unmasked_by(control);
  const Format result{lanes == Lanes::ss || lanes == Lanes::ps};
  const Format source{what == Arithmetic::narrow ? false : result.single};
  const bool scalar = lanes == Lanes::ss || lanes == Lanes::sd, daz = (control & mxcsr::daz) != 0;
  const bool pairs = what == Arithmetic::add_pairs || what == Arithmetic::sub_pairs;
  const unsigned count = scalar ? 1 : source.single ? 4 : 2;
  // The x87's precision control rounds to 24 or 53 bits, but not the exponent.
  const u16 x87_control = static_cast<u16>(0x7f | (result.single ? 0 : 0x200) | ((control & mxcsr::rounding) >> 3));
  u32 flags = 0;
  for (unsigned i = 0; i < count; ++i) {
    Float80 x, y;
    if (what == Arithmetic::narrow) {
      x = element(b, i, source, daz);
      y = {0, static_cast<u16>(x.sign_exponent & 0x8000)};  // adding a zero rounds
    } else if (pairs) {
      const __m128i from = i < count / 2 ? a : b;
      x = element(from, 2 * i % count, source, daz);
      y = element(from, 2 * i % count + 1, source, daz);
    } else {
      x = element(a, i, source, daz);
      y = element(b, i, source, daz);
    }
    flags |= lane_flags(operation_of(what, i)(x, &y, x87_control), result, unmasked, (control & mxcsr::ftz) != 0);
  }
  return flags;
}

bool sse_arithmetic_exception(Cpu& cpu, const Op* op, Lanes lanes, Arithmetic what, __m128i a, __m128i b) {
  u32 flags = take_sse_flags(cpu);
  if (sse_needs_arithmetic(cpu, flags)) flags = sse_before(flags) | sse_arithmetic_flags(cpu, lanes, what, a, b);
  return sse_report(cpu, op, flags);
}

}  // namespace cloister::silicon
