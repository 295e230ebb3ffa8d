// x87 loads: FLD, FILD, FBLD and the constants (SDM vol. 1, 8.3.3 and 8.3.4).
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

CLOISTER_X87_LOAD(fld_m32, "flds (%[b])")
CLOISTER_X87_LOAD(fld_m64, "fldl (%[b])")
CLOISTER_X87_LOAD(fld_m80, "fldt (%[b])")
CLOISTER_X87_LOAD(fild_m16, "filds (%[b])")
CLOISTER_X87_LOAD(fild_m32, "fildl (%[b])")
CLOISTER_X87_LOAD(fild_m64, "fildll (%[b])")
CLOISTER_X87_LOAD(fbld, "fbld (%[b])")

// The constants are rounded as the control word says.
CLOISTER_X87_LOAD(fld1, "fld1")
CLOISTER_X87_LOAD(fldz, "fldz")
CLOISTER_X87_LOAD(fldpi, "fldpi")
CLOISTER_X87_LOAD(fldl2t, "fldl2t")
CLOISTER_X87_LOAD(fldl2e, "fldl2e")
CLOISTER_X87_LOAD(fldlg2, "fldlg2")
CLOISTER_X87_LOAD(fldln2, "fldln2")

using TenBytes = std::array<u8, 10>;

template <X87Operation f, class T>
void memory(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    T raw;
    if (!read_operand<From::memory>(cpu, op, raw)) return;
    x87_note(cpu, op);
    x87_push_checked(cpu, op, f({}, &raw, cpu.fpu.control));
  }
  CLOISTER_NEXT(cpu, op);
}

template <X87Operation f>
void constant(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  x87_push_checked(cpu, op, f({}, &cpu.fpu, cpu.fpu.control));
  CLOISTER_NEXT(cpu, op);
}

void duplicate(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  if (x87_empty(fpu, op->src)) {
    if (x87_stack_fault(cpu, op, false)) x87_push(fpu, x87::indefinite);
  } else {
    const X87Result r{.value = x87_st(fpu, op->src)};
    x87_push_checked(cpu, op, r);
  }
  CLOISTER_NEXT(cpu, op);
}

Selected select_fld(const Insn& insn, Op& op) {
  x87_fill(insn, op);
  if (!insn.has_memory) return {&duplicate};
  switch (insn.info.opcode) {
    case 0xd9: return {&memory<fld_m32, u32>};
    case 0xdd: return {&memory<fld_m64, u64>};
    default: return {&memory<fld_m80, TenBytes>};
  }
}

Selected select_fild(const Insn& insn, Op& op) {
  x87_fill(insn, op);
  if (insn.info.opcode == 0xdb) return {&memory<fild_m32, u32>};
  return {insn.info.raw.modrm.reg == 0 ? &memory<fild_m16, u16> : &memory<fild_m64, u64>};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FLD, select_fld},
    {ZYDIS_MNEMONIC_FILD, select_fild},
    {ZYDIS_MNEMONIC_FBLD, select_x87<&memory<fbld, TenBytes>>},
    {ZYDIS_MNEMONIC_FLD1, select_x87<&constant<fld1>>},
    {ZYDIS_MNEMONIC_FLDZ, select_x87<&constant<fldz>>},
    {ZYDIS_MNEMONIC_FLDPI, select_x87<&constant<fldpi>>},
    {ZYDIS_MNEMONIC_FLDL2T, select_x87<&constant<fldl2t>>},
    {ZYDIS_MNEMONIC_FLDL2E, select_x87<&constant<fldl2e>>},
    {ZYDIS_MNEMONIC_FLDLG2, select_x87<&constant<fldlg2>>},
    {ZYDIS_MNEMONIC_FLDLN2, select_x87<&constant<fldln2>>},
};

}  // namespace

std::span<const Row> x87_load_rows() { return rows; }

}  // namespace cloister::silicon
