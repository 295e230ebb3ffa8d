// Shifts and rotates: SHL SHR SAR ROL ROR RCL RCR SHLD SHRD, SHLX SHRX SARX RORX (SDM vol. 1, 7.3.6; vol. 2).
//
// The count is taken modulo 32, or 64 for 64-bit operands. Count 0 changes no flag, but a 32-bit register is still
// written. OF is defined for count 1 only, and its formula is used for all.
#include <bit>

#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

template <class T>
constexpr unsigned bits_of = 8 * sizeof(T);

template <class T>
constexpr unsigned masked(u64 count) {
  return count & (sizeof(T) == 8 ? 63 : 31);
}
template <class T>
constexpr bool top(T v) {
  return (v >> (bits_of<T> - 1)) != 0;
}
/// Bit n of v; 0 beyond its end.
template <class T>
constexpr bool bit(T v, unsigned n) {
  return n < bits_of<T> && ((v >> n) & 1) != 0;
}

struct Shifts {
  static constexpr bool reads = true, writes = true;
};

struct Shl : Shifts {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(u64{a} << masked<T>(b));
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    const unsigned n = masked<T>(b);
    if (n == 0) return;
    const bool out = bit<T>(a, bits_of<T> - n);
    f.set_result<T>(r, out, out != top(r));
  }
};
struct Shr : Shifts {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(u64{a} >> masked<T>(b));
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    const unsigned n = masked<T>(b);
    if (n == 0) return;
    f.set_result<T>(r, ((u64{a} >> (n - 1)) & 1) != 0, top(a));
  }
};
struct Sar : Shifts {
  template <class T>
  static i64 extended(T a) {
    return static_cast<std::make_signed_t<T>>(a);
  }
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(extended<T>(a) >> masked<T>(b));
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    const unsigned n = masked<T>(b);
    if (n == 0) return;
    f.set_result<T>(r, ((extended<T>(a) >> (n - 1)) & 1) != 0, false);
  }
};
struct Rol : Shifts {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return std::rotl(a, static_cast<int>(masked<T>(b) % bits_of<T>));
  }
  template <class T>
  static void flags(LazyFlags& f, T, T b, T r) {
    if (masked<T>(b) == 0) return;
    f.set_carry((r & 1) != 0);
    f.set_overflow(top(r) != ((r & 1) != 0));
  }
};
struct Ror : Shifts {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return std::rotr(a, static_cast<int>(masked<T>(b) % bits_of<T>));
  }
  template <class T>
  static void flags(LazyFlags& f, T, T b, T r) {
    if (masked<T>(b) == 0) return;
    f.set_carry(top(r));
    f.set_overflow(top(r) != bit<T>(r, bits_of<T> - 2));
  }
};

/// A rotation by n through CF: the operand with CF above it, as one number of one bit more.
template <class T>
using WithCarry = std::conditional_t<sizeof(T) == 8, u128, u64>;
template <class T>
WithCarry<T> rotate_left(T a, bool carry, unsigned n) {
  constexpr unsigned width = bits_of<T> + 1;
  const auto v = (WithCarry<T>{carry} << bits_of<T>) | a;
  n %= width;
  return n == 0 ? v : (v << n) | (v >> (width - n));
}
template <class T>
constexpr unsigned through_carry(T b) {
  return masked<T>(b) % (bits_of<T> + 1);
}

struct Rcl : Shifts {
  template <class T>
  static T value(const LazyFlags& f, T a, T b) {
    return static_cast<T>(rotate_left<T>(a, f.cf(), through_carry<T>(b)));
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    if (masked<T>(b) == 0) return;
    const bool out = ((rotate_left<T>(a, f.cf(), through_carry<T>(b)) >> bits_of<T>)&1) != 0;
    f.set_carry(out);
    f.set_overflow(top(r) != out);
  }
};
struct Rcr : Shifts {
  template <class T>
  static T value(const LazyFlags& f, T a, T b) {
    return static_cast<T>(rotate_left<T>(a, f.cf(), bits_of<T> + 1 - through_carry<T>(b)));
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    if (masked<T>(b) == 0) return;
    const auto all = rotate_left<T>(a, f.cf(), bits_of<T> + 1 - through_carry<T>(b));
    f.set_carry(((all >> bits_of<T>)&1) != 0);
    f.set_overflow(top(r) != bit<T>(r, bits_of<T> - 2));
  }
};

template <class O>
Selected select_shift(const Insn& insn, Op& op) {
  const bool by_cl = insn.is_reg(1);
  if (!by_cl) op.imm = insn.imm(1) & 0xff;
  Form form = form_as_encoded(insn, true);
  if (by_cl) form.operands = insn.is_mem(0) ? Operands::mem_cl : Operands::reg_cl;
  return {by_size(insn.bits(0),
                  [&](auto size) -> Handler {
                    using T = decltype(size);
                    if (insn.is_mem(0)) {
                      return by_memory_rare(insn.memory, [&](auto m) -> Handler {
                        return by_cl ? hot_unless_any<StoreForm<O, T, m.kind, From::cl>, m.kind>()
                                     : hot_unless_any<StoreForm<O, T, m.kind, From::imm>, m.kind>();
                      });
                    }
                    op.dst = insn.reg(0);
                    return by_cl ? &register_form<O, T, From::cl> : &register_form<O, T, From::imm>;
                  }),
          false, form};
}

// ------------------------------------------------------------------------------------------------ SHLD, SHRD

/// The result of shifting `count` bits of b into a, and the last bit that left a. A 16-bit operand shifted by more
/// than 16 is undefined; here b's bits are followed by a's again.
template <class T, bool left>
struct DoubleShift {
  T result;
  bool out;
  DoubleShift(T a, T b, unsigned n) {
    constexpr unsigned width = bits_of<T>;
    if constexpr (left) {
      if (n > width) {
        n -= width;
        std::swap(a, b);
      }
      result = n == width ? b : static_cast<T>((u64{a} << n) | (u64{b} >> (width - n)));
      out = bit<T>(a, width - n);
    } else {
      if (n > width) {
        n -= width;
        std::swap(a, b);
      }
      result = n == width ? b : static_cast<T>((u64{a} >> n) | (u64{b} << (width - n)));
      out = bit<T>(a, n - 1);
    }
  }
};

template <class T, bool left>
T double_shift(LazyFlags& f, T a, T b, unsigned n) {
  if (n == 0) return a;
  const DoubleShift<T, left> s(a, b, n);
  f.set_result<T>(s.result, s.out, top(s.result) != top(a));
  return s.result;
}

template <class T, bool left, From count>
void double_register(Cpu& cpu, const Op* op) {
  const unsigned n = masked<T>(second<count, u8>(cpu, op));
  cpu.set_reg<T>(op->dst, double_shift<T, left>(cpu.flags, cpu.reg<T>(op->dst), cpu.reg<T>(op->src), n));
  CLOISTER_NEXT(cpu, op);
}
template <class T, bool left, From count, Mem kind>
struct DoubleMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::write, linear)) return;
    T a;
    if (!Path::template load_for_store<T>(cpu, op, linear, a)) return;
    const unsigned n = masked<T>(second<count, u8>(cpu, op));
    LazyFlags flags = cpu.flags;
    const T r = double_shift<T, left>(flags, a, cpu.reg<T>(op->src), n);
    if (!Path::template store<T>(cpu, op, linear, r)) return;
    cpu.flags = flags;
    CLOISTER_NEXT(cpu, op);
  }
};

template <bool left>
Selected select_double(const Insn& insn, Op& op) {
  const bool by_cl = insn.is_reg(2);
  op.src = insn.reg(1);
  if (!by_cl) op.imm = insn.imm(2) & 0xff;
  return {by_wide_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (insn.is_mem(0)) {
      return by_memory_rare(insn.memory, [&](auto m) -> Handler {
        return by_cl ? cold<DoubleMemory<T, left, From::cl, m.kind>> : cold<DoubleMemory<T, left, From::imm, m.kind>>;
      });
    }
    op.dst = insn.reg(0);
    return by_cl ? &double_register<T, left, From::cl> : &double_register<T, left, From::imm>;
  })};
}

// ------------------------------------------------------------------------------------------------ BMI2: no flags

template <class O>
struct Flagless {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    cpu.set_reg<T>(op->dst, O::template value<T>(cpu.flags, v, cpu.reg<T>(op->aux)));
    return true;
  }
};
struct Rorx {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    cpu.set_reg<T>(op->dst, Ror::value<T>(cpu.flags, v, static_cast<T>(op->imm)));
    return true;
  }
};

template <class O>
Selected select_flagless(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.aux = insn.reg(2);
  return {
      by_long_size(insn.bits(0), [&](auto size) { return source_handler<Flagless<O>, decltype(size)>(insn, op, 1); }),
      false, form_with_source(insn, 1)};
}
Selected select_rorx(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.imm = insn.imm(2);
  return {by_long_size(insn.bits(0), [&](auto size) { return source_handler<Rorx, decltype(size)>(insn, op, 1); }),
          false, form_with_source(insn, 1)};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_SHL, &select_shift<Shl>},     {ZYDIS_MNEMONIC_SHR, &select_shift<Shr>},
    {ZYDIS_MNEMONIC_SAR, &select_shift<Sar>},     {ZYDIS_MNEMONIC_ROL, &select_shift<Rol>},
    {ZYDIS_MNEMONIC_ROR, &select_shift<Ror>},     {ZYDIS_MNEMONIC_RCL, &select_shift<Rcl>},
    {ZYDIS_MNEMONIC_RCR, &select_shift<Rcr>},     {ZYDIS_MNEMONIC_SHLD, &select_double<true>},
    {ZYDIS_MNEMONIC_SHRD, &select_double<false>}, {ZYDIS_MNEMONIC_SHLX, &select_flagless<Shl>},
    {ZYDIS_MNEMONIC_SHRX, &select_flagless<Shr>}, {ZYDIS_MNEMONIC_SARX, &select_flagless<Sar>},
    {ZYDIS_MNEMONIC_RORX, &select_rorx},
};

}  // namespace

std::span<const Row> shift_rows() { return rows; }

}  // namespace cloister::silicon
