// x87 functions by MPFR: see x87_mpfr.hpp. Special values and exceptions: SDM vol. 2, FSIN, FPTAN, FPATAN, F2XM1,
// FYL2X, FYL2XP1; vol. 1, 8.5.
#include "silicon/isa/x87/x87_mpfr.hpp"

#include <mpfr.h>

#include "silicon/isa/x87/mpfr_in_use.hpp"

namespace cloister::silicon::x87_mpfr {
namespace {

constexpr unsigned significand_bits = 64;
constexpr unsigned guard_precision = 320;  ///< of y * log2(x): beyond any double rounding that 64-bit operands allow
// MPFR's exponents are those of a significand in [1/2, 1).
constexpr mpfr_exp_t bias = 16382, smallest_normal = 1 - bias, largest = 16384, smallest = smallest_normal - 63;
constexpr mpfr_exp_t wrap = 24576;  ///< SDM vol. 1, 8.5.4 and 8.5.5

class Number {
 public:
  explicit Number(unsigned precision = significand_bits) { mpfr_init2(value_, precision); }
  explicit Number(const Float80& v) : Number() {
    const u16 exponent = v.sign_exponent & 0x7fff;
    if (exponent == 0x7fff) {
      mpfr_set_inf(value_, 1);
    } else {
      mpfr_set_ui_2exp(value_, v.mantissa, (exponent == 0 ? 1 : exponent) - 16383 - 63, MPFR_RNDN);
    }
    mpfr_setsign(value_, value_, v.sign_exponent >> 15, MPFR_RNDN);
  }
  ~Number() { mpfr_clear(value_); }
  Number(const Number&) = delete;
  Number& operator=(const Number&) = delete;
  operator mpfr_ptr() { return value_; }  // NOLINT(google-explicit-constructor): it is passed as one everywhere

 private:
  mpfr_t value_;
};

mpfr_rnd_t rounding(u16 control) {
  constexpr mpfr_rnd_t modes[] = {MPFR_RNDN, MPFR_RNDD, MPFR_RNDU, MPFR_RNDZ};
  return modes[(control >> 10) & 3];
}

/// Of the negated value.
mpfr_rnd_t opposite(mpfr_rnd_t mode) { return mode == MPFR_RNDD ? MPFR_RNDU : mode == MPFR_RNDU ? MPFR_RNDD : mode; }

u16 exponent_of(const Float80& v) { return v.sign_exponent & 0x7fff; }
bool is_denormal(const Float80& v) { return exponent_of(v) == 0 && v.mantissa != 0; }
bool is_infinite(const Float80& v) { return exponent_of(v) == 0x7fff && v.mantissa == u64{1} << 63; }
/// A NaN, or a pattern that no operation accepts (SDM vol. 1, 8.2.2).
bool is_nan_or_unsupported(const Float80& v) {
  if (exponent_of(v) == 0) return false;
  return v.mantissa >> 63 == 0 || (exponent_of(v) == 0x7fff && !is_infinite(v));
}

/// How NaNs propagate, with the flags, is the same in every operation: the host's addition knows.
CLOISTER_X87_TWO(add, "fadd %%st(1), %%st")

X87Result invalid() { return {.value = x87::indefinite, .status = x87::ie}; }

Float80 to_float80(mpfr_ptr v) {
  const u16 sign = mpfr_signbit(v) != 0 ? 0x8000 : 0;
  if (mpfr_zero_p(v) != 0) return {0, sign};
  if (mpfr_inf_p(v) != 0) return {u64{1} << 63, static_cast<u16>(sign | 0x7fff)};
  const mpfr_exp_t e = mpfr_get_exp(v);
  Number integer;
  mpfr_mul_2si(integer, v, significand_bits - e, MPFR_RNDN);
  mpfr_abs(integer, integer, MPFR_RNDN);
  const u64 significand = mpfr_get_ui(integer, MPFR_RNDZ);
  if (e >= smallest_normal) return {significand, static_cast<u16>(sign | (e + bias))};
  return {significand >> (smallest_normal - e), sign};
}

/// Rounds on to a denormal. The new ternary value.
int make_subnormal(mpfr_ptr v, int ternary, mpfr_rnd_t mode) {
  const mpfr_exp_t emin = mpfr_get_emin();
  mpfr_set_emin(smallest);
  ternary = mpfr_check_range(v, ternary, mode);
  ternary = mpfr_subnormalize(v, ternary, mode);
  mpfr_set_emin(emin);
  return ternary;
}

/// The result in `v`, rounded to 64 bits with any exponent, and which way it was rounded, as the control word wants it.
X87Result deliver(mpfr_ptr v, int ternary, u16 control) {
  const mpfr_rnd_t mode = rounding(control);
  X87Result r;
  if (mpfr_nan_p(v) != 0) return invalid();
  if (mpfr_regular_p(v) != 0) {
    const mpfr_exp_t e = mpfr_get_exp(v);
    if (e < smallest_normal && (control & x87::ue) == 0) {
      mpfr_mul_2si(v, v, wrap, MPFR_RNDN);
      r.status |= x87::ue;
    } else if (e < smallest_normal) {
      ternary = make_subnormal(v, ternary, mode);
      if (ternary != 0) r.status |= x87::ue;
    } else if (e > largest && (control & x87::oe) == 0) {
      mpfr_mul_2si(v, v, -wrap, MPFR_RNDN);
      r.status |= x87::oe;
    } else if (e > largest) {
      const mpfr_exp_t emax = mpfr_get_emax();
      mpfr_set_emax(largest);
      ternary = mpfr_check_range(v, ternary, mode);
      mpfr_set_emax(emax);
      r.status |= x87::oe;
    }
  }
  if (ternary != 0) r.status |= x87::pe;
  // Rounded up means away from zero: to the significand.
  if (ternary != 0 && (ternary > 0) == (mpfr_signbit(v) == 0)) r.status |= x87::c1;
  r.value = to_float80(v);
  return r;
}

using Unary = int (*)(mpfr_ptr, mpfr_srcptr, mpfr_rnd_t);

X87Result unary(const Float80& x, u16 control, Unary f) {
  if (is_nan_or_unsupported(x)) return add(x, &x, control);
  const MpfrInUse guard;
  Number argument(x), v;
  const int ternary = f(v, argument, rounding(control));
  X87Result r = deliver(v, ternary, control);
  if (is_denormal(x)) r.status |= x87::de;
  return r;
}

/// y * f(x), as if computed at once.
X87Result product(const Float80& x, const Float80& y, u16 control, Unary f) {
  if (is_nan_or_unsupported(x) || is_nan_or_unsupported(y)) return add(x, &y, control);
  const MpfrInUse guard;
  Number argument(x), factor(y), logarithm(guard_precision), exact(guard_precision + significand_bits), v;
  f(logarithm, argument, MPFR_RNDN);
  mpfr_mul(exact, logarithm, factor, MPFR_RNDN);
  if (mpfr_nan_p(exact) != 0) return invalid();
  if (mpfr_inf_p(logarithm) != 0 && mpfr_signbit(logarithm) != 0 && !is_infinite(y)) {
    return {.value = to_float80(exact), .status = x87::ze};
  }
  const int ternary = mpfr_set(v, exact, rounding(control));
  X87Result r = deliver(v, ternary, control);
  if (is_denormal(x) || is_denormal(y)) r.status |= x87::de;
  return r;
}

// ---- trigonometric functions of an argument reduced by multiples of half the processor's pi

constexpr unsigned reduction_precision = 256;  ///< the reduction of |x| < 2^63 is exact

/// x - quotient * pi / 2, |result| <= pi / 4; the quotient modulo 4. Exact.
unsigned reduce(mpfr_ptr rest, mpfr_srcptr x) {
  Number half_pi(reduction_precision), quotient(reduction_precision);
  mpfr_set_ui_2exp(half_pi, 0xc90fdaa22168c234, 2, MPFR_RNDN);  // 4 * 0.C90FDAA22168C234C in hexadecimal (8.3.8)
  mpfr_add_ui(half_pi, half_pi, 3, MPFR_RNDN);
  mpfr_mul_2si(half_pi, half_pi, -65, MPFR_RNDN);
  mpfr_div(quotient, x, half_pi, MPFR_RNDN);
  mpfr_rint(quotient, quotient, MPFR_RNDN);
  const long n = mpfr_get_si(quotient, MPFR_RNDZ);
  mpfr_mul(quotient, quotient, half_pi, MPFR_RNDN);
  mpfr_sub(rest, x, quotient, MPFR_RNDN);
  return static_cast<unsigned>(n) & 3;
}

/// sin(x + quarters * pi / 2)
template <unsigned quarters>
int reduced_sine(mpfr_ptr v, mpfr_srcptr x, mpfr_rnd_t mode) {
  if (mpfr_regular_p(x) == 0) return quarters == 0 ? mpfr_sin(v, x, mode) : mpfr_cos(v, x, mode);
  Number rest(reduction_precision);
  const unsigned quadrant = (reduce(rest, x) + quarters) & 3;
  const bool negative = quadrant >= 2;
  const mpfr_rnd_t inner = negative ? opposite(mode) : mode;
  const int ternary = (quadrant & 1) == 0 ? mpfr_sin(v, rest, inner) : mpfr_cos(v, rest, inner);
  if (!negative) return ternary;
  mpfr_neg(v, v, MPFR_RNDN);
  return -ternary;
}

int reduced_tangent(mpfr_ptr v, mpfr_srcptr x, mpfr_rnd_t mode) {
  if (mpfr_regular_p(x) == 0) return mpfr_tan(v, x, mode);
  Number rest(reduction_precision);
  if ((reduce(rest, x) & 1) == 0) return mpfr_tan(v, rest, mode);
  const int ternary = mpfr_cot(v, rest, opposite(mode));
  mpfr_neg(v, v, MPFR_RNDN);
  return -ternary;
}

/// 2^x - 1. The manual leaves results beyond [-1, 1] undefined: there the operand stays, and is called inexact.
int exp2_minus1_in_range(mpfr_ptr v, mpfr_srcptr x, mpfr_rnd_t mode) {
  if (mpfr_regular_p(x) != 0 && mpfr_cmpabs_ui(x, 1) > 0) {
    mpfr_set(v, x, mode);
    return 1;
  }
  return mpfr_exp2m1(v, x, mode);
}

}  // namespace

X87Result sine(const Float80& x, u16 control) { return unary(x, control, reduced_sine<0>); }
X87Result cosine(const Float80& x, u16 control) { return unary(x, control, reduced_sine<1>); }
X87Result tangent(const Float80& x, u16 control) { return unary(x, control, reduced_tangent); }
X87Result exp2_minus1(const Float80& x, u16 control) { return unary(x, control, exp2_minus1_in_range); }

X87Result arctangent(const Float80& x, const Float80& y, u16 control) {
  if (is_nan_or_unsupported(x) || is_nan_or_unsupported(y)) return add(x, &y, control);
  const MpfrInUse guard;
  Number abscissa(x), ordinate(y), v;
  const int ternary = mpfr_atan2(v, ordinate, abscissa, rounding(control));
  X87Result r = deliver(v, ternary, control);
  if (is_denormal(x) || is_denormal(y)) r.status |= x87::de;
  return r;
}

X87Result y_log2(const Float80& x, const Float80& y, u16 control) { return product(x, y, control, mpfr_log2); }
X87Result y_log2_plus1(const Float80& x, const Float80& y, u16 control) { return product(x, y, control, mpfr_log2p1); }

}  // namespace cloister::silicon::x87_mpfr
