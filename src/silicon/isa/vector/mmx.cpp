// Instructions of MMX registers alone (SDM vol. 1, 9.4 and 10.4.4; vol. 2, EMMS, MOVNTQ, MASKMOVQ, MOVDQ2Q, MOVQ2DQ).
#include "silicon/isa/vector/mmx.hpp"

#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {
namespace {

void emms(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  cpu.fpu.top = 0;
  cpu.fpu.valid = 0;
  CLOISTER_NEXT(cpu, op);
}

Selected select_emms(const Insn&, Op&) { return {&emms}; }

void movntq(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  if (!write_operand<From::memory>(cpu, op, get_mm(cpu, op->src))) return;
  mmx_enter(cpu);
  CLOISTER_NEXT(cpu, op);
}

Selected select_movntq(const Insn& insn, Op& op) {
  op.src = insn.reg(1);
  note_address(insn, op);
  return {&movntq};
}

void maskmovq(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  {
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, 8, Access::write, linear)) return;
    const u64 data = get_mm(cpu, op->dst), mask = get_mm(cpu, op->src);
    mmx_enter(cpu);  // harmless if the store faults: it happens again
    if (!store_masked(cpu, op, linear, reinterpret_cast<const u8*>(&data), reinterpret_cast<const u8*>(&mask), 8)) {
      return;
    }
  }
  CLOISTER_NEXT(cpu, op);
}

Selected select_maskmovq(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  note_rdi_address(insn, op);
  return {&maskmovq};
}

// These two use both register files, so both gates apply.

void movdq2q(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (!mmx_ready(cpu, op)) return;
  set_mm(cpu, op->dst, from_vector<u64>(get_xmm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

void movq2dq(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (!mmx_ready(cpu, op)) return;
  mmx_enter(cpu);
  set_xmm(cpu, op->dst, to_vector(get_mm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

template <Handler handler>
Selected select_registers(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  return {handler};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_EMMS, select_emms},
    {ZYDIS_MNEMONIC_MOVNTQ, select_movntq},
    {ZYDIS_MNEMONIC_MASKMOVQ, select_maskmovq},
    {ZYDIS_MNEMONIC_MOVDQ2Q, select_registers<&movdq2q>},
    {ZYDIS_MNEMONIC_MOVQ2DQ, select_registers<&movq2dq>},
};

}  // namespace

std::span<const Row> mmx_rows() { return rows; }

}  // namespace cloister::silicon
