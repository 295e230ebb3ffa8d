// Multiplication and division: MUL IMUL MULX DIV IDIV (SDM vol. 1, 7.3.2.3; vol. 2).
#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

template <class T>
constexpr unsigned bits_of = 8 * sizeof(T);

/// rDX:rAX, or AX for bytes.
template <class T>
void set_double(Cpu& cpu, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    cpu.set_reg<u16>(arch::rax, static_cast<u16>(low | (high << 8)));
  } else {
    cpu.set_reg<T>(arch::rax, low);
    cpu.set_reg<T>(arch::rdx, high);
  }
}
template <class T>
u128 get_double(const Cpu& cpu) {
  if constexpr (sizeof(T) == 1) {
    return cpu.reg<u16>(arch::rax);
  } else {
    return (u128{cpu.reg<T>(arch::rdx)} << bits_of<T>) | cpu.reg<T>(arch::rax);
  }
}

template <class T>
struct Product {
  T low, high;
};
template <class T>
Product<T> multiply(T a, T b) {
  using Wide = std::conditional_t<sizeof(T) == 8, u128, u64>;
  const Wide p = static_cast<Wide>(a) * b;
  return {static_cast<T>(p), static_cast<T>(p >> bits_of<T>)};
}
template <class T>
Product<T> multiply_signed(T a, T b) {
  using Wide = std::conditional_t<sizeof(T) == 8, i128, i64>;
  using S = std::make_signed_t<T>;
  const Wide p = static_cast<Wide>(static_cast<S>(a)) * static_cast<S>(b);
  return {static_cast<T>(p), static_cast<T>(p >> bits_of<T>)};
}
/// The high half of a signed product says no more than the low half's sign.
template <class T>
bool fits_signed(Product<T> p) {
  return p.high == static_cast<T>(static_cast<std::make_signed_t<T>>(p.low) >> (bits_of<T> - 1));
}

struct Mul {
  template <class T>
  static bool apply(Cpu& cpu, const Op*, T b) {
    const Product<T> p = multiply<T>(cpu.reg<T>(arch::rax), b);
    set_double<T>(cpu, p.low, p.high);
    cpu.flags.set_result<T>(p.low, p.high != 0, p.high != 0);
    return true;
  }
};
struct Imul1 {
  template <class T>
  static bool apply(Cpu& cpu, const Op*, T b) {
    const Product<T> p = multiply_signed<T>(cpu.reg<T>(arch::rax), b);
    set_double<T>(cpu, p.low, p.high);
    cpu.flags.set_result<T>(p.low, !fits_signed(p), !fits_signed(p));
    return true;
  }
};
template <class T>
void imul_into(Cpu& cpu, const Op* op, T a, T b) {
  const Product<T> p = multiply_signed<T>(a, b);
  cpu.set_reg<T>(op->dst, p.low);
  cpu.flags.set_result<T>(p.low, !fits_signed(p), !fits_signed(p));
}
struct Imul2 {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    imul_into<T>(cpu, op, cpu.reg<T>(op->dst), b);
    return true;
  }
};
struct Imul3 {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    imul_into<T>(cpu, op, b, static_cast<T>(op->imm));
    return true;
  }
};
/// MULX high, low, source: no flags; if both registers are one, it gets the high half.
struct Mulx {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    const Product<T> p = multiply<T>(cpu.reg<T>(arch::rdx), b);
    cpu.set_reg<T>(op->aux, p.low);
    cpu.set_reg<T>(op->dst, p.high);
    return true;
  }
};

/// Unsigned quotient and remainder; the caller has checked that the quotient fits (high half < divisor).
struct Quotient {
  u64 quotient, remainder;
};
inline Quotient divide(u128 dividend, u64 divisor) {
  u64 low = static_cast<u64>(dividend), high = static_cast<u64>(dividend >> 64);
  if (high == 0) return {low / divisor, low % divisor};
  asm("divq %[divisor]" : "+a"(low), "+d"(high) : [divisor] "r"(divisor) : "cc");
  return {low, high};
}

/// DIV: #DE if the divisor is 0 or the quotient is too large. The status flags are undefined; they stay.
struct Div {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    const u128 dividend = get_double<T>(cpu);
    if ((dividend >> bits_of<T>) >= b) {
      raise_de(cpu, op);
      return false;
    }
    const Quotient q = divide(dividend, b);
    set_double<T>(cpu, static_cast<T>(q.quotient), static_cast<T>(q.remainder));
    return true;
  }
};
/// IDIV, by magnitudes: the remainder has the dividend's sign.
struct Idiv {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    constexpr unsigned unused = 128 - 2 * bits_of<T>;
    const u128 dividend = static_cast<u128>(static_cast<i128>(get_double<T>(cpu) << unused) >> unused);
    const bool negative_dividend = (dividend >> 127) != 0;
    const bool negative_divisor = static_cast<std::make_signed_t<T>>(b) < 0;
    const u128 magnitude = negative_dividend ? u128{0} - dividend : dividend;
    const T divisor = negative_divisor ? static_cast<T>(-b) : b;
    const bool negative = negative_dividend != negative_divisor;
    const u64 limit = (u64{1} << (bits_of<T> - 1)) - (negative ? 0 : 1);
    const bool fits = (magnitude >> bits_of<T>) < divisor;
    const Quotient q = fits ? divide(magnitude, divisor) : Quotient{};
    if (!fits || q.quotient > limit) {
      raise_de(cpu, op);
      return false;
    }
    set_double<T>(cpu, static_cast<T>(negative ? -q.quotient : q.quotient),
                  static_cast<T>(negative_dividend ? -q.remainder : q.remainder));
    return true;
  }
};

template <class Body>
Selected select_one(const Insn& insn, Op& op) {
  Form form = form_as_encoded(insn, false);
  if (insn.is_reg(0)) form.operands = Operands::source;
  return {by_size(insn.bits(0), [&](auto size) { return source_handler<Body, decltype(size)>(insn, op, 0); }), false,
          form};
}

Selected select_imul(const Insn& insn, Op& op) {
  if (insn.visible() == 1) return select_one<Imul1>(insn, op);
  op.dst = insn.reg(0);
  if (insn.visible() == 3) op.imm = insn.imm(2);
  Form form = form_as_encoded(insn, true);
  if (insn.visible() == 3) form.operands = insn.is_mem(1) ? Operands::reg_mem_imm : Operands::reg_reg_imm;
  return {by_wide_size(insn.bits(0),
                       [&](auto size) {
                         using T = decltype(size);
                         return insn.visible() == 3 ? source_handler<Imul3, T>(insn, op, 1)
                                                    : source_handler<Imul2, T>(insn, op, 1);
                       }),
          false, form};
}

Selected select_mulx(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.aux = insn.reg(1);
  return {by_long_size(insn.bits(0), [&](auto size) { return source_handler<Mulx, decltype(size)>(insn, op, 2); }),
          false, form_with_source(insn, 2)};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_MUL, &select_one<Mul>},   {ZYDIS_MNEMONIC_IMUL, &select_imul},
    {ZYDIS_MNEMONIC_MULX, &select_mulx},      {ZYDIS_MNEMONIC_DIV, &select_one<Div>},
    {ZYDIS_MNEMONIC_IDIV, &select_one<Idiv>},
};

}  // namespace

std::span<const Row> muldiv_rows() { return rows; }

}  // namespace cloister::silicon
