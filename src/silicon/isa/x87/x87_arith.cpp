// x87 arithmetic: FADD, FSUB, FMUL, FDIV with their operands in registers, floating-point memory or integer memory, and
// the operations on ST(0) (SDM vol. 1, 8.3.5; exceptions: 8.5).
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

// Each operation, by the operand's type. `dest = dest op other`; the reversed ones are `dest = other op dest`.
#define CLOISTER_X87_ARITH(name)                          \
  CLOISTER_X87_TWO(f##name, "f" #name " %%st(1), %%st")   \
  CLOISTER_X87_ONE(f##name##_m32, "f" #name "s (%[b])")   \
  CLOISTER_X87_ONE(f##name##_m64, "f" #name "l (%[b])")   \
  CLOISTER_X87_ONE(fi##name##_m16, "fi" #name "s (%[b])") \
  CLOISTER_X87_ONE(fi##name##_m32, "fi" #name "l (%[b])")

CLOISTER_X87_ARITH(add)
CLOISTER_X87_ARITH(mul)
CLOISTER_X87_ARITH(sub)
CLOISTER_X87_ARITH(subr)
CLOISTER_X87_ARITH(div)
CLOISTER_X87_ARITH(divr)
CLOISTER_X87_ONE(fsqrt, "fsqrt")
CLOISTER_X87_ONE(frndint, "frndint")
CLOISTER_X87_TWO(fscale, "fscale")
CLOISTER_X87_PAIR(fxtract, "fxtract")

/// dest = f(dest, *other), unless a register is empty.
void compute(Cpu& cpu, const Op* op, unsigned dest, bool empty, X87Operation f, const void* other) {
  FpuState& fpu = cpu.fpu;
  if (empty) {
    if (!x87_stack_fault(cpu, op, false)) return;
    x87_set(fpu, dest, x87::indefinite);
  } else {
    const X87Result r = f(x87_st(fpu, dest), other, fpu.control);
    if (!x87_report(cpu, op, r.status)) return;
    x87_set(fpu, dest, r.value);
  }
  x87_pop_after(fpu, op);
}

template <X87Operation f>
void registers(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  compute(cpu, op, op->dst, x87_empty(cpu.fpu, op->dst) || x87_empty(cpu.fpu, op->src), f, &x87_st(cpu.fpu, op->src));
  CLOISTER_NEXT(cpu, op);
}

template <X87Operation f, class T>
void memory(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    T raw;
    if (!read_operand<From::memory>(cpu, op, raw)) return;
    x87_note(cpu, op);
    compute(cpu, op, 0, x87_empty(cpu.fpu, 0), f, &raw);
  }
  CLOISTER_NEXT(cpu, op);
}

/// ST(0) = f(ST(0)), or f(ST(0), ST(1)) for FSCALE.
template <X87Operation f, bool binary = false>
void unary(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  compute(cpu, op, 0, x87_empty(cpu.fpu, 0) || (binary && x87_empty(cpu.fpu, 1)), f, &x87_st(cpu.fpu, 1));
  CLOISTER_NEXT(cpu, op);
}

/// FABS and FCHS are operations on the sign: no exception but stack underflow.
template <u16 keep, u16 flip>
void sign(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  if (x87_empty(cpu.fpu, 0)) {
    if (x87_stack_fault(cpu, op, false)) x87_set(cpu.fpu, 0, x87::indefinite);
  } else {
    x87_clear_c1(cpu.fpu);
    Float80& v = x87_st(cpu.fpu, 0);
    v.sign_exponent = (v.sign_exponent & keep) ^ flip;
  }
  CLOISTER_NEXT(cpu, op);
}

/// FXTRACT: the exponent replaces ST(0), and the significand is pushed.
void extract(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  const bool underflow = x87_empty(fpu, 0), overflow = !x87_empty(fpu, 7);
  if (underflow || overflow) {
    if (x87_stack_fault(cpu, op, !underflow)) {
      x87_set(fpu, 0, x87::indefinite);
      x87_push(fpu, x87::indefinite);
    }
  } else {
    const X87Result r = fxtract(x87_st(fpu, 0), &fpu, fpu.control);
    if (x87_report(cpu, op, r.status)) {
      x87_set(fpu, 0, r.value);
      x87_push(fpu, r.second);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

/// D8: ST(0) is the destination; DC and DE: ST(i) is.
template <X87Operation reg, X87Operation m32, X87Operation m64>
Selected select_float(const Insn& insn, Op& op) {
  x87_fill(insn, op, insn.info.opcode == 0xde ? 1 : 0);
  if (insn.has_memory) return {insn.info.opcode == 0xdc ? &memory<m64, u64> : &memory<m32, u32>};
  const u8 i = op.src;
  op.dst = insn.info.opcode == 0xd8 ? 0 : i;
  op.src = insn.info.opcode == 0xd8 ? i : 0;
  return {&registers<reg>};
}

template <X87Operation m16, X87Operation m32>
Selected select_integer(const Insn& insn, Op& op) {
  x87_fill(insn, op);
  return {insn.info.opcode == 0xde ? &memory<m16, u16> : &memory<m32, u32>};
}

#define CLOISTER_FLOAT_ROW(NAME, name) \
  { ZYDIS_MNEMONIC_##NAME, select_float<f##name, f##name##_m32, f##name##_m64> }
#define CLOISTER_INTEGER_ROW(NAME, name) \
  { ZYDIS_MNEMONIC_##NAME, select_integer<fi##name##_m16, fi##name##_m32> }

constexpr Row rows[] = {
    CLOISTER_FLOAT_ROW(FADD, add),
    CLOISTER_FLOAT_ROW(FADDP, add),
    CLOISTER_FLOAT_ROW(FMUL, mul),
    CLOISTER_FLOAT_ROW(FMULP, mul),
    CLOISTER_FLOAT_ROW(FSUB, sub),
    CLOISTER_FLOAT_ROW(FSUBP, sub),
    CLOISTER_FLOAT_ROW(FSUBR, subr),
    CLOISTER_FLOAT_ROW(FSUBRP, subr),
    CLOISTER_FLOAT_ROW(FDIV, div),
    CLOISTER_FLOAT_ROW(FDIVP, div),
    CLOISTER_FLOAT_ROW(FDIVR, divr),
    CLOISTER_FLOAT_ROW(FDIVRP, divr),
    CLOISTER_INTEGER_ROW(FIADD, add),
    CLOISTER_INTEGER_ROW(FIMUL, mul),
    CLOISTER_INTEGER_ROW(FISUB, sub),
    CLOISTER_INTEGER_ROW(FISUBR, subr),
    CLOISTER_INTEGER_ROW(FIDIV, div),
    CLOISTER_INTEGER_ROW(FIDIVR, divr),
    {ZYDIS_MNEMONIC_FSQRT, select_x87<&unary<fsqrt>>},
    {ZYDIS_MNEMONIC_FRNDINT, select_x87<&unary<frndint>>},
    {ZYDIS_MNEMONIC_FSCALE, select_x87<&unary<fscale, true>>},
    {ZYDIS_MNEMONIC_FABS, select_x87<&sign<0x7fff, 0>>},
    {ZYDIS_MNEMONIC_FCHS, select_x87<&sign<0xffff, 0x8000>>},
    {ZYDIS_MNEMONIC_FXTRACT, select_x87<&extract>},
};

}  // namespace

std::span<const Row> x87_arith_rows() { return rows; }

}  // namespace cloister::silicon
