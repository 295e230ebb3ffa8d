// Addition, subtraction, comparison and logic: ADD ADC SUB SBB CMP, AND OR XOR TEST, INC DEC NEG NOT (SDM vol. 1, 7.3.2
// and 7.3.5; flags: vol. 1, app. A).
#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

struct ReadWrite {
  static constexpr bool reads = true, writes = true;
};
struct ReadOnly {
  static constexpr bool reads = true, writes = false;
};
struct AddFlags {
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    f.set_add<T>(a, b, r);
  }
};
struct SubFlags {
  template <class T>
  static void flags(LazyFlags& f, T a, T b, T r) {
    f.set_sub<T>(a, b, r);
  }
};
struct LogicFlags {
  template <class T>
  static void flags(LazyFlags& f, T, T, T r) {
    f.set_logic<T>(r);
  }
};

struct AddValue {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct SubValue {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(a - b);
  }
};
struct AndValue {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(a & b);
  }
};

struct Add : ReadWrite, AddValue, AddFlags {};
struct Sub : ReadWrite, SubValue, SubFlags {};
struct Cmp : ReadOnly, SubValue, SubFlags {};
struct And : ReadWrite, AndValue, LogicFlags {};
struct Test : ReadOnly, AndValue, LogicFlags {};
struct Adc : ReadWrite, AddFlags {
  template <class T>
  static T value(const LazyFlags& f, T a, T b) {
    return static_cast<T>(a + b + f.cf());
  }
};
struct Sbb : ReadWrite, SubFlags {
  template <class T>
  static T value(const LazyFlags& f, T a, T b) {
    return static_cast<T>(a - b - f.cf());
  }
};
struct Or : ReadWrite, LogicFlags {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor : ReadWrite, LogicFlags {
  template <class T>
  static T value(const LazyFlags&, T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Inc : ReadWrite {
  template <class T>
  static T value(const LazyFlags&, T a, T) {
    return static_cast<T>(a + 1);
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T, T r) {
    f.set_inc<T>(a, r);
  }
};
struct Dec : ReadWrite {
  template <class T>
  static T value(const LazyFlags&, T a, T) {
    return static_cast<T>(a - 1);
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T, T r) {
    f.set_dec<T>(a, r);
  }
};
struct Neg : ReadWrite {
  template <class T>
  static T value(const LazyFlags&, T a, T) {
    return static_cast<T>(-a);
  }
  template <class T>
  static void flags(LazyFlags& f, T a, T, T r) {
    f.set_sub<T>(0, a, r);
  }
};
struct Not : ReadWrite {
  template <class T>
  static T value(const LazyFlags&, T a, T) {
    return static_cast<T>(~a);
  }
  template <class T>
  static void flags(LazyFlags&, T, T, T) {}
};

/// XOR r, r and SUB r, r of 32 and 64 bits.
void zero(Cpu& cpu, const Op* op) {
  cpu.gpr[op->dst] = 0;
  cpu.flags.result = 0;
  cpu.flags.aux = 0;
  CLOISTER_NEXT(cpu, op);
}

template <class O>
Selected select_zeroing(const Insn& insn, Op& op) {
  if (insn.is_reg(0) && insn.is_reg(1) && insn.reg(0) == insn.reg(1) && insn.bits(0) >= 32) {
    op.dst = op.src = insn.reg(0);
    return {&zero, false, form_as_encoded(insn, true)};
  }
  return select_binary<O>(insn, op);
}

/// TEST r, r.
template <class T>
void test_self(Cpu& cpu, const Op* op) {
  cpu.flags.set_logic<T>(cpu.reg<T>(op->dst));
  CLOISTER_NEXT(cpu, op);
}

Selected select_test(const Insn& insn, Op& op) {
  if (insn.is_reg(0) && insn.is_reg(1) && insn.reg(0) == insn.reg(1)) {
    op.dst = op.src = insn.reg(0);
    return {by_size(insn.bits(0), [](auto size) -> Handler { return &test_self<decltype(size)>; }), false,
            form_as_encoded(insn, false)};
  }
  return select_binary<Test>(insn, op);
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_ADD, &select_binary<Add>},  {ZYDIS_MNEMONIC_ADC, &select_binary<Adc>},
    {ZYDIS_MNEMONIC_SUB, &select_zeroing<Sub>}, {ZYDIS_MNEMONIC_SBB, &select_binary<Sbb>},
    {ZYDIS_MNEMONIC_CMP, &select_binary<Cmp>},  {ZYDIS_MNEMONIC_AND, &select_binary<And>},
    {ZYDIS_MNEMONIC_OR, &select_binary<Or>},    {ZYDIS_MNEMONIC_XOR, &select_zeroing<Xor>},
    {ZYDIS_MNEMONIC_TEST, &select_test},        {ZYDIS_MNEMONIC_INC, &select_unary<Inc>},
    {ZYDIS_MNEMONIC_DEC, &select_unary<Dec>},   {ZYDIS_MNEMONIC_NEG, &select_unary<Neg>},
    {ZYDIS_MNEMONIC_NOT, &select_unary<Not>},
};

}  // namespace

std::span<const Row> alu_rows() { return rows; }

}  // namespace cloister::silicon
