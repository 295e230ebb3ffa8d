// Flags of x * y + z with overflow or underflow unmasked (SDM vol. 1, 4.9.1.4 to 4.9.1.6; 14.5.2): what
// isa/vector/sse_exception.hpp says of sums and products. Here the exact value has more bits than the x87's registers,
// so MPFR rounds it, with any exponent.
#include <cstring>

#include "silicon/isa/avx/avx_fused.hpp"
#include "silicon/isa/x87/mpfr_in_use.hpp"

namespace cloister::silicon {
namespace {

/// MPFR's exponents are those of a significand in [1/2, 1).
struct Target {
  int bits;
  mpfr_exp_t smallest, largest;  ///< exponents of normal values
};
constexpr Target half_precision{11, -13, 16}, single_precision{24, -125, 128}, double_precision{53, -1021, 1024};

class Wide {
 public:
  Wide(double value, int bits = 53) {
    mpfr_init2(value_, bits);
    mpfr_set_d(value_, value, MPFR_RNDN);
  }
  ~Wide() { mpfr_clear(value_); }
  Wide(const Wide&) = delete;
  Wide& operator=(const Wide&) = delete;
  operator mpfr_ptr() { return value_; }  // NOLINT(google-explicit-constructor): it is passed as one everywhere

 private:
  mpfr_t value_;
};

struct Rounding {
  u32 unmasked = 0;
  bool flush = false;
  mpfr_rnd_t mode = MPFR_RNDN;
};

/// O, U and P of one element. The host's MXCSR is not the guest's.
u32 element_flags(double x, double y, double z, const Target& target, const Rounding& rounding) {
  Wide a(x), b(y), c(z), r(0, target.bits);
  const bool inexact = mpfr_fma(r, a, b, c, rounding.mode) != 0;
  if (mpfr_regular_p(static_cast<mpfr_ptr>(r)) == 0) return 0;  // of infinities and NaNs, or an exact zero
  const mpfr_exp_t exponent = mpfr_get_exp(static_cast<mpfr_ptr>(r));
  const u32 p = inexact ? mxcsr::pe : 0;
  if (exponent > target.largest) return mxcsr::oe | ((rounding.unmasked & mxcsr::oe) != 0 ? p : mxcsr::pe);
  if (exponent >= target.smallest) return p;
  if ((rounding.unmasked & mxcsr::ue) != 0) return mxcsr::ue | p;
  const auto left = target.bits - static_cast<int>(target.smallest - exponent);
  if (rounding.flush || inexact || left < 1) return mxcsr::ue | mxcsr::pe;
  Wide denormal(0, left);
  return mpfr_fma(denormal, a, b, c, rounding.mode) != 0 ? mxcsr::ue | mxcsr::pe : 0;
}

mpfr_rnd_t mode_of(unsigned control) {
  constexpr mpfr_rnd_t modes[] = {MPFR_RNDN, MPFR_RNDD, MPFR_RNDU, MPFR_RNDZ};
  return modes[control & 3];
}

/// Element `i` of a vector; with DAZ a denormal is a zero.
template <class T>
double element(const Ymm& v, unsigned i, bool daz) {
  T x;
  std::memcpy(&x, reinterpret_cast<const u8*>(&v) + sizeof(T) * i, sizeof x);
  std::conditional_t<sizeof(T) == 4, u32, u64> bits;
  std::memcpy(&bits, &x, sizeof x);
  constexpr unsigned fraction = sizeof(T) == 4 ? 23 : 52;
  const bool tiny = (bits << 1 >> (fraction + 1)) == 0;
  return daz && tiny ? 0.0 : static_cast<double>(x);
}

/// What a mnemonic computes, and of which operands.
struct Fused {
  bool single = false, scalar = false;
  bool negate_product = false, negate_even = false, negate_odd = false;  ///< the addend of even and odd elements
  const Ymm *x = nullptr, *y = nullptr, *z = nullptr;
};

Fused fused_of(ZydisMnemonic mnemonic, const Ymm& result, const Ymm& first, const Ymm& second) {
  const std::string_view name = ZydisMnemonicGetString(mnemonic);  // "vfnmadd213ss"
  Fused f;
  f.single = name.back() == 's';
  f.scalar = name[name.size() - 2] == 's';
  f.negate_product = name[2] == 'n';
  const std::string_view kind =
      name.substr(f.negate_product ? 3 : 2, name.find_first_of("123") - (f.negate_product ? 3 : 2));
  f.negate_even = kind == "msub" || kind == "maddsub";
  f.negate_odd = kind == "msub" || kind == "msubadd";
  const std::string_view order = name.substr(name.find_first_of("123"), 3);
  const auto operand = [&](char n) { return n == '1' ? &result : n == '2' ? &first : &second; };
  f.x = operand(order[0]);
  f.y = operand(order[1]);
  f.z = operand(order[2]);
  return f;
}

template <class T>
u32 all_elements(const Fused& f, bool wide, bool daz, const Target& target, const Rounding& rounding) {
  const unsigned count = f.scalar ? 1 : (wide ? 32 : 16) / sizeof(T);
  u32 flags = 0;
  for (unsigned i = 0; i < count; ++i) {
    const double x = element<T>(*f.x, i, daz), z = element<T>(*f.z, i, daz);
    const bool negate = i % 2 == 0 ? f.negate_even : f.negate_odd;
    flags |= element_flags(f.negate_product ? -x : x, element<T>(*f.y, i, daz), negate ? -z : z, target, rounding);
  }
  return flags;
}

Rounding rounding_of(u32 control) {
  return {.unmasked = ~(control >> 7) & mxcsr::flags,
          .flush = (control & mxcsr::ftz) != 0,
          .mode = mode_of((control & mxcsr::rounding) >> 13)};
}

}  // namespace

bool fused_exception(Cpu& cpu, const Op* op, const AvxValues& v, bool wide) {
  u32 flags = take_sse_flags(cpu);
  if (sse_needs_arithmetic(cpu, flags)) {
    const u32 control = cpu.fpu.mxcsr;
    const Ymm before = get_ymm(cpu, op->dst);
    const MpfrInUse in_use;
    const Fused f = fused_of(static_cast<ZydisMnemonic>(op->mnemonic), before, v.first, v.second);
    const bool daz = (control & mxcsr::daz) != 0;
    const Rounding rounding = rounding_of(control);
    flags = sse_before(flags) | (f.single ? all_elements<float>(f, wide, daz, single_precision, rounding)
                                          : all_elements<double>(f, wide, daz, double_precision, rounding));
  }
  return sse_report(cpu, op, flags);
}

bool half_exception(Cpu& cpu, const Op* op, const AvxValues& v, bool wide) {
  u32 flags = take_sse_flags(cpu);
  if (sse_needs_arithmetic(cpu, flags)) {
    const u32 control = cpu.fpu.mxcsr;
    const MpfrInUse in_use;
    const bool daz = (control & mxcsr::daz) != 0;
    Rounding rounding = rounding_of(control);
    rounding.flush = false;
    if ((v.immediate & 4) == 0) rounding.mode = mode_of(v.immediate & 3);
    flags = sse_before(flags);
    for (unsigned i = 0; i < (wide ? 8u : 4u); ++i) {
      flags |= element_flags(element<float>(v.second, i, daz), 1, 0, half_precision, rounding);
    }
  }
  return sse_report(cpu, op, flags);
}

}  // namespace cloister::silicon
