// Bit scans, counts and fields: BSF BSR TZCNT LZCNT POPCNT, BMI1, BMI2's BZHI PDEP PEXT; and the two other instructions
// of that shape, CRC32 and ADCX/ADOX (SDM vol. 1, 5.1.16 and 7.3.7; vol. 2).
#include <bit>

#include "silicon/isa/integer/bit.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

template <class T>
constexpr unsigned bits_of = 8 * sizeof(T);

/// Source 0 leaves the destination alone. Flags other than ZF are undefined.
struct Bsf {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    cpu.flags.set_result<T>(v, false, false);
    if (v != 0) cpu.set_reg<T>(op->dst, static_cast<T>(std::countr_zero(v)));
    return true;
  }
};
struct Bsr {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    cpu.flags.set_result<T>(v, false, false);
    if (v != 0) cpu.set_reg<T>(op->dst, static_cast<T>(bits_of<T> - 1 - std::countl_zero(v)));
    return true;
  }
};
struct Tzcnt {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>(std::countr_zero(v));
    cpu.flags.set_result<T>(r, v == 0, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Lzcnt {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>(std::countl_zero(v));
    cpu.flags.set_result<T>(r, v == 0, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
/// ZF says that the source is 0; the other five flags are cleared.
struct Popcnt {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    cpu.flags.set(v == 0 ? arch::rflags::zf : 0);
    cpu.set_reg<T>(op->dst, static_cast<T>(std::popcount(v)));
    return true;
  }
};

struct Andn {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>(~cpu.reg<T>(op->aux) & v);
    cpu.flags.set_logic<T>(r);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
/// Bits 7:0 of the control: start; bits 15:8: length.
struct Bextr {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const u64 control = cpu.gpr[op->aux];
    const unsigned start = control & 0xff, length = (control >> 8) & 0xff;
    T r = start < bits_of<T> ? static_cast<T>(v >> start) : T{0};
    if (length < bits_of<T>) r &= static_cast<T>((T{1} << length) - 1);
    cpu.flags.set_logic<T>(r);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Blsi {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>(-v & v);
    cpu.flags.set_result<T>(r, v != 0, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Blsmsk {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>((v - 1) ^ v);
    cpu.flags.set_result<T>(r, v == 0, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Blsr {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const T r = static_cast<T>((v - 1) & v);
    cpu.flags.set_result<T>(r, v == 0, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Bzhi {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const unsigned from = cpu.gpr[op->aux] & 0xff;
    const bool beyond = from >= bits_of<T>;
    const T r = beyond ? v : static_cast<T>(v & ((T{1} << from) - 1));
    cpu.flags.set_result<T>(r, beyond, false);
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};

/// The source is the mask; aux the register that is scattered to or gathered from its bits. No flags.
struct Pdep {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T mask) {
    const T from = cpu.reg<T>(op->aux);
    T r = 0;
    for (T bit = 1; mask != 0; bit = static_cast<T>(bit << 1), mask &= static_cast<T>(mask - 1)) {
      if ((from & bit) != 0) r |= mask & static_cast<T>(-mask);
    }
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};
struct Pext {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T mask) {
    const T from = cpu.reg<T>(op->aux);
    T r = 0;
    for (T bit = 1; mask != 0; bit = static_cast<T>(bit << 1), mask &= static_cast<T>(mask - 1)) {
      if ((from & mask & static_cast<T>(-mask)) != 0) r |= bit;
    }
    cpu.set_reg<T>(op->dst, r);
    return true;
  }
};

/// CRC-32C of the source into a 32-bit accumulator; a 64-bit destination's upper half becomes 0.
struct Crc32 {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T v) {
    const u32 crc = cpu.reg<u32>(op->dst);
    if constexpr (sizeof(T) == 1) {
      cpu.gpr[op->dst] = __builtin_ia32_crc32qi(crc, v);
    } else if constexpr (sizeof(T) == 2) {
      cpu.gpr[op->dst] = __builtin_ia32_crc32hi(crc, v);
    } else if constexpr (sizeof(T) == 4) {
      cpu.gpr[op->dst] = __builtin_ia32_crc32si(crc, v);
    } else {
      cpu.gpr[op->dst] = __builtin_ia32_crc32di(crc, v);
    }
    return true;
  }
};

/// ADCX adds with CF, ADOX with OF; each changes that flag alone.
template <class T>
bool add_with(Cpu& cpu, const Op* op, T b, bool carry) {
  const T a = cpu.reg<T>(op->dst);
  const u128 sum = u128{a} + b + carry;
  cpu.set_reg<T>(op->dst, static_cast<T>(sum));
  return (sum >> bits_of<T>) != 0;
}
struct Adcx {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    cpu.flags.set_carry(add_with<T>(cpu, op, b, cpu.flags.cf()));
    return true;
  }
};
struct Adox {
  template <class T>
  static bool apply(Cpu& cpu, const Op* op, T b) {
    cpu.flags.set_overflow(add_with<T>(cpu, op, b, cpu.flags.of()));
    return true;
  }
};

// ------------------------------------------------------------------------------------------------ selection

/// Body dst, r/m.
template <class Body>
Selected select_two(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_wide_size(insn.bits(0), [&](auto size) { return source_handler<Body, decltype(size)>(insn, op, 1); }),
          false, form_with_source(insn, 1)};
}
/// As select_two() without a 16-bit form.
template <class Body>
Selected select_two_long(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_long_size(insn.bits(0), [&](auto size) { return source_handler<Body, decltype(size)>(insn, op, 1); }),
          false, form_with_source(insn, 1)};
}
/// Body dst, reg and r/m: the source is operand `source`, the other one goes to aux.
template <class Body, unsigned source>
Selected select_three(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.aux = insn.reg(3 - source);
  return {by_long_size(insn.bits(0), [&](auto size) { return source_handler<Body, decltype(size)>(insn, op, source); }),
          false, form_with_source(insn, source)};
}
Selected select_crc32(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_size(insn.bits(1), [&](auto size) { return source_handler<Crc32, decltype(size)>(insn, op, 1); })};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_BSF, &select_two<Bsf>},
    {ZYDIS_MNEMONIC_BSR, &select_two<Bsr>},
    {ZYDIS_MNEMONIC_TZCNT, &select_two<Tzcnt>},
    {ZYDIS_MNEMONIC_LZCNT, &select_two<Lzcnt>},
    {ZYDIS_MNEMONIC_POPCNT, &select_two<Popcnt>},
    {ZYDIS_MNEMONIC_ANDN, &select_three<Andn, 2>},
    {ZYDIS_MNEMONIC_BEXTR, &select_three<Bextr, 1>},
    {ZYDIS_MNEMONIC_BLSI, &select_two_long<Blsi>},
    {ZYDIS_MNEMONIC_BLSMSK, &select_two_long<Blsmsk>},
    {ZYDIS_MNEMONIC_BLSR, &select_two_long<Blsr>},
    {ZYDIS_MNEMONIC_BZHI, &select_three<Bzhi, 1>},
    {ZYDIS_MNEMONIC_PDEP, &select_three<Pdep, 2>},
    {ZYDIS_MNEMONIC_PEXT, &select_three<Pext, 2>},
    {ZYDIS_MNEMONIC_CRC32, &select_crc32},
    {ZYDIS_MNEMONIC_ADCX, &select_two_long<Adcx>},
    {ZYDIS_MNEMONIC_ADOX, &select_two_long<Adox>},
};

}  // namespace

std::span<const Row> bit_count_rows() { return rows; }

}  // namespace cloister::silicon
