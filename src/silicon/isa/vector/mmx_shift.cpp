// Packed shifts for both register files, by a register or memory or by an immediate (SDM vol. 2, PSLLW, …). A count in
// a register is its low 64 bits, and a count that is too large clears the elements or fills them with the sign, so an
// immediate is the same operation with the count in a register.
#include "silicon/isa/vector/mmx_op.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_SHIFTS(X)            \
  X(PSLLW, "psllw", 8, PackedInteger) \
  X(PSLLD, "pslld", 8, PackedInteger) \
  X(PSLLQ, "psllq", 8, PackedInteger) \
  X(PSRLW, "psrlw", 8, PackedInteger) \
  X(PSRLD, "psrld", 8, PackedInteger) \
  X(PSRLQ, "psrlq", 8, PackedInteger) \
  X(PSRAW, "psraw", 8, PackedInteger) \
  X(PSRAD, "psrad", 8, PackedInteger)

CLOISTER_SHIFTS(CLOISTER_SHARED_OP)

template <class F>
void shift_immediate(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  set_xmm(cpu, op->dst, F::apply(get_xmm(cpu, op->dst), to_vector(op->imm)));
  CLOISTER_NEXT(cpu, op);
}

template <class F>
void shift_mmx_immediate(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  set_mm(cpu, op->dst, F::apply64(get_mm(cpu, op->dst), op->imm));
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Selected select_shift(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  if (!insn.is_imm(1)) return select_shared<F>(insn, op);
  op.dst = insn.reg(0);
  op.imm = insn.imm(1) & 0xff;
  return with_form(insn, is_mmx(insn, 0) ? &shift_mmx_immediate<F> : &shift_immediate<F>);
}

#define CLOISTER_ROW(Name, ...) {ZYDIS_MNEMONIC_##Name, select_shift<Name>},
constexpr Row rows[] = {CLOISTER_SHIFTS(CLOISTER_ROW)};

}  // namespace

std::span<const Row> mmx_shift_rows() { return rows; }

}  // namespace cloister::silicon
