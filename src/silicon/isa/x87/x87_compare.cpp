// x87 comparisons: FCOM, FUCOM, FICOM, FTST to the condition codes, FCOMI and FUCOMI to RFLAGS, and FXAM (SDM vol. 1,
// 8.3.6; vol. 2, tables of FCOM, FCOMI and FXAM).
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

CLOISTER_X87_TWO(fcom, "fcom %%st(1)")
CLOISTER_X87_TWO(fucom, "fucom %%st(1)")
CLOISTER_X87_ONE(fcom_m32, "fcoms (%[b])")
CLOISTER_X87_ONE(fcom_m64, "fcoml (%[b])")
CLOISTER_X87_ONE(ficom_m16, "ficoms (%[b])")
CLOISTER_X87_ONE(ficom_m32, "ficoml (%[b])")
CLOISTER_X87_ONE(ftst, "ftst")

constexpr u16 unordered = x87::c0 | x87::c2 | x87::c3;

void compare(Cpu& cpu, const Op* op, bool empty, X87Operation f, const void* other) {
  FpuState& fpu = cpu.fpu;
  if (empty) {
    if (!x87_stack_fault(cpu, op, false)) return;
    x87_set_conditions(fpu, unordered);
  } else {
    const X87Result r = f(x87_st(fpu, 0), other, fpu.control);
    if (!x87_report(cpu, op, r.status & static_cast<u16>(~x87::c1))) return;
    x87_set_conditions(fpu, r.status);
  }
  x87_pop_after(fpu, op);
}

template <X87Operation f>
void registers(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  compare(cpu, op, x87_empty(cpu.fpu, 0) || x87_empty(cpu.fpu, op->src), f, &x87_st(cpu.fpu, op->src));
  CLOISTER_NEXT(cpu, op);
}

template <X87Operation f, class T>
void memory(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    T raw;
    if (!read_operand<From::memory>(cpu, op, raw)) return;
    x87_note(cpu, op);
    compare(cpu, op, x87_empty(cpu.fpu, 0), f, &raw);
  }
  CLOISTER_NEXT(cpu, op);
}

void test(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  compare(cpu, op, x87_empty(cpu.fpu, 0), ftst, &cpu.fpu);
  CLOISTER_NEXT(cpu, op);
}

/// As FCOM and FUCOM, but C3, C2 and C0 are ZF, PF and CF; OF, SF and AF become 0, whatever is raised.
template <X87Operation f>
void compare_flags(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  u16 conditions = unordered;
  bool done;
  if (x87_empty(fpu, 0) || x87_empty(fpu, op->src)) {
    done = x87_stack_fault(cpu, op, false);
  } else {
    const X87Result r = f(x87_st(fpu, 0), &x87_st(fpu, op->src), fpu.control);
    conditions = r.status;
    done = x87_report(cpu, op, r.status & static_cast<u16>(~x87::c1));
  }
  if (done) {
    namespace flag = arch::rflags;
    cpu.flags.set(((conditions & x87::c3) != 0 ? flag::zf : 0) | ((conditions & x87::c2) != 0 ? flag::pf : 0) |
                  ((conditions & x87::c0) != 0 ? flag::cf : 0));
    x87_pop_after(fpu, op);
  } else {
    namespace flag = arch::rflags;
    cpu.flags.set(cpu.flags.get() & (flag::zf | flag::pf | flag::cf));
  }
  CLOISTER_NEXT(cpu, op);
}

/// SDM vol. 2, table 3-42. C1 is the sign, of an empty register too.
u16 class_of(const FpuState& fpu) {
  const Float80& v = fpu.st[fpu.top];
  const u16 exponent = v.sign_exponent & 0x7fff;
  const bool integer_bit = v.mantissa >> 63 != 0;
  if (x87_empty(fpu, 0)) return x87::c3 | x87::c0;
  if (exponent == 0) return v.mantissa == 0 ? x87::c3 : static_cast<u16>(x87::c3 | x87::c2);
  if (!integer_bit) return 0;  // unsupported
  if (exponent != 0x7fff) return x87::c2;
  return v.mantissa << 1 == 0 ? static_cast<u16>(x87::c2 | x87::c0) : x87::c0;
}

void examine(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  x87_set_conditions(fpu, class_of(fpu));
  x87_clear_c1(fpu);
  if ((fpu.st[fpu.top].sign_exponent & 0x8000) != 0) fpu.status |= x87::c1;
  CLOISTER_NEXT(cpu, op);
}

template <X87Operation reg, X87Operation m32, X87Operation m64, unsigned pops>
Selected select_float(const Insn& insn, Op& op) {
  x87_fill(insn, op, pops);
  if (!insn.has_memory) return {&registers<reg>};
  return {insn.info.opcode == 0xdc ? &memory<m64, u64> : &memory<m32, u32>};
}

template <unsigned pops>
Selected select_integer(const Insn& insn, Op& op) {
  x87_fill(insn, op, pops);
  return {insn.info.opcode == 0xde ? &memory<ficom_m16, u16> : &memory<ficom_m32, u32>};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FCOM, select_float<fcom, fcom_m32, fcom_m64, 0>},
    {ZYDIS_MNEMONIC_FCOMP, select_float<fcom, fcom_m32, fcom_m64, 1>},
    {ZYDIS_MNEMONIC_FCOMPP, select_x87<&registers<fcom>, 2>},
    {ZYDIS_MNEMONIC_FUCOM, select_x87<&registers<fucom>>},
    {ZYDIS_MNEMONIC_FUCOMP, select_x87<&registers<fucom>, 1>},
    {ZYDIS_MNEMONIC_FUCOMPP, select_x87<&registers<fucom>, 2>},
    {ZYDIS_MNEMONIC_FICOM, select_integer<0>},
    {ZYDIS_MNEMONIC_FICOMP, select_integer<1>},
    {ZYDIS_MNEMONIC_FTST, select_x87<&test>},
    {ZYDIS_MNEMONIC_FCOMI, select_x87<&compare_flags<fcom>>},
    {ZYDIS_MNEMONIC_FCOMIP, select_x87<&compare_flags<fcom>, 1>},
    {ZYDIS_MNEMONIC_FUCOMI, select_x87<&compare_flags<fucom>>},
    {ZYDIS_MNEMONIC_FUCOMIP, select_x87<&compare_flags<fucom>, 1>},
    {ZYDIS_MNEMONIC_FXAM, select_x87<&examine>},
};

}  // namespace

std::span<const Row> x87_compare_rows() { return rows; }

}  // namespace cloister::silicon
