// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1, and the partial remainders (SDM vol. 1, 8.3.7 to 8.3.10).
//
// The remainders are exact; which part of a long one FPREM computes at a time is ours to choose and is done here with
// integers, so it does not depend on the host.
#include "silicon/isa/x87/x87_mpfr.hpp"
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

constexpr Float80 one{u64{1} << 63, 0x3fff};

/// FSIN, FCOS, FPTAN and FSINCOS: beyond 2^63 the operand stays and C2 says so.
bool out_of_range(const Float80& v) {
  const u16 exponent = v.sign_exponent & 0x7fff;
  return exponent != 0x7fff && exponent >= 0x3fff + 63 && v.mantissa >> 63 != 0;
}

void set_c2(FpuState& fpu, bool on) {
  fpu.status = static_cast<u16>(on ? fpu.status | x87::c2 : fpu.status & ~x87::c2);
}

using Unary = X87Result (*)(const Float80& x, u16 control);
using Binary = X87Result (*)(const Float80& x, const Float80& y, u16 control);

/// ST(0) = f(ST(0))
template <Unary f, bool ranged>
void unary(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  if (x87_empty(fpu, 0)) {
    if (x87_stack_fault(cpu, op, false)) x87_set(fpu, 0, x87::indefinite);
    if (ranged) set_c2(fpu, false);
  } else if (ranged && out_of_range(x87_st(fpu, 0))) {
    x87_clear_c1(fpu);
    set_c2(fpu, true);
  } else {
    const X87Result r = f(x87_st(fpu, 0), fpu.control);
    if (ranged) set_c2(fpu, false);
    if (x87_report(cpu, op, r.status)) x87_set(fpu, 0, r.value);
  }
  CLOISTER_NEXT(cpu, op);
}

X87Result sine_and_cosine(const Float80& x, u16 control) {
  X87Result r = x87_mpfr::sine(x, control);
  const X87Result c = x87_mpfr::cosine(x, control);
  r.second = c.value;
  r.status = static_cast<u16>((r.status & x87::flags) | c.status);
  return r;
}

/// FPTAN pushes 1, so that a division gives the cotangent; but a NaN is pushed again.
X87Result tangent_and_one(const Float80& x, u16 control) {
  X87Result r = x87_mpfr::tangent(x, control);
  const bool nan = (r.value.sign_exponent & 0x7fff) == 0x7fff;
  r.second = nan ? r.value : one;
  return r;
}

/// ST(0) = first result, then the second one is pushed.
template <Unary f>
void unary_and_push(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  const bool underflow = x87_empty(fpu, 0), overflow = !x87_empty(fpu, 7);
  if (underflow || overflow) {
    set_c2(fpu, false);
    if (x87_stack_fault(cpu, op, !underflow)) {
      x87_set(fpu, 0, x87::indefinite);
      x87_push(fpu, x87::indefinite);
    }
  } else if (out_of_range(x87_st(fpu, 0))) {
    x87_clear_c1(fpu);
    set_c2(fpu, true);
  } else {
    const X87Result r = f(x87_st(fpu, 0), fpu.control);
    set_c2(fpu, false);
    if (x87_report(cpu, op, r.status)) {
      x87_set(fpu, 0, r.value);
      x87_push(fpu, r.second);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

/// ST(1) = f(ST(0), ST(1)), pop.
template <Binary f>
void binary_and_pop(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  if (x87_empty(fpu, 0) || x87_empty(fpu, 1)) {
    if (x87_stack_fault(cpu, op, false)) {
      x87_set(fpu, 1, x87::indefinite);
      x87_pop(fpu);
    }
  } else {
    const X87Result r = f(x87_st(fpu, 0), x87_st(fpu, 1), fpu.control);
    if (x87_report(cpu, op, r.status)) {
      x87_set(fpu, 1, r.value);
      x87_pop(fpu);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

// ---- remainders

CLOISTER_X87_TWO(fprem, "fprem")
CLOISTER_X87_TWO(fprem1, "fprem1")

/// The exponent of a finite non-zero value as if it were normal.
int true_exponent(const Float80& v) {
  const int exponent = v.sign_exponent & 0x7fff;
  return (exponent == 0 ? 1 : exponent) - __builtin_clzll(v.mantissa);
}

bool is_finite(const Float80& v) {
  const u16 exponent = v.sign_exponent & 0x7fff;
  return exponent != 0x7fff && (exponent == 0 || v.mantissa >> 63 != 0);
}

/// If the exponents differ by 64 or more, N of that difference is worked off: a number between 32 and 63 (SDM vol. 2,
/// FPREM). The result is dividend - divisor * trunc((dividend / divisor) / 2^(D - N)) * 2^(D - N), which is the exact
/// remainder of dividing by divisor * 2^(D - N).
X87Result partial_remainder(const Float80& a, const Float80& b, int difference) {
  const int n = 32 + (difference & 31);
  u64 rest = a.mantissa << __builtin_clzll(a.mantissa);
  const u64 divisor = b.mantissa << __builtin_clzll(b.mantissa);
  if (rest >= divisor) rest -= divisor;
  for (int i = 0; i < n; ++i) {
    const bool carry = rest >> 63 != 0;
    rest <<= 1;
    if (carry || rest >= divisor) rest -= divisor;
  }
  X87Result r;
  r.status = x87::c2;
  if ((a.sign_exponent & 0x7fff) == 0 || (b.sign_exponent & 0x7fff) == 0) r.status |= x87::de;
  r.value.sign_exponent = a.sign_exponent & 0x8000;
  if (rest != 0) {
    const int shift = __builtin_clzll(rest), exponent = true_exponent(a) - n - shift;
    r.value.mantissa = rest << shift;
    if (exponent > 0) {
      r.value.sign_exponent |= static_cast<u16>(exponent);
    } else {
      r.value.mantissa >>= 1 - exponent;  // exact: both operands are multiples of the smallest denormal
    }
  }
  return r;
}

template <X87Operation f>
void remainder(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  if (x87_empty(fpu, 0) || x87_empty(fpu, 1)) {
    set_c2(fpu, false);
    if (x87_stack_fault(cpu, op, false)) x87_set(fpu, 0, x87::indefinite);
  } else {
    const Float80 a = x87_st(fpu, 0), b = x87_st(fpu, 1);
    const bool ordinary = is_finite(a) && is_finite(b) && a.mantissa != 0 && b.mantissa != 0;
    const int difference = ordinary ? true_exponent(a) - true_exponent(b) : 0;
    const X87Result r = difference >= 64 ? partial_remainder(a, b, difference) : f(a, &b, fpu.control);
    if (x87_report(cpu, op, r.status)) {
      if ((r.status & x87::ie) == 0) x87_set_conditions(fpu, r.status);
      x87_set(fpu, 0, r.value);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FSIN, select_x87<&unary<x87_mpfr::sine, true>>},
    {ZYDIS_MNEMONIC_FCOS, select_x87<&unary<x87_mpfr::cosine, true>>},
    {ZYDIS_MNEMONIC_F2XM1, select_x87<&unary<x87_mpfr::exp2_minus1, false>>},
    {ZYDIS_MNEMONIC_FSINCOS, select_x87<&unary_and_push<sine_and_cosine>>},
    {ZYDIS_MNEMONIC_FPTAN, select_x87<&unary_and_push<tangent_and_one>>},
    {ZYDIS_MNEMONIC_FPATAN, select_x87<&binary_and_pop<x87_mpfr::arctangent>>},
    {ZYDIS_MNEMONIC_FYL2X, select_x87<&binary_and_pop<x87_mpfr::y_log2>>},
    {ZYDIS_MNEMONIC_FYL2XP1, select_x87<&binary_and_pop<x87_mpfr::y_log2_plus1>>},
    {ZYDIS_MNEMONIC_FPREM, select_x87<&remainder<fprem>>},
    {ZYDIS_MNEMONIC_FPREM1, select_x87<&remainder<fprem1>>},
};

}  // namespace

std::span<const Row> x87_transcendental_rows() { return rows; }

}  // namespace cloister::silicon
