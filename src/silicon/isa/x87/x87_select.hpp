// What the rows of x87 instructions have in common: the opcode for FOP, the stack register, the memory operand.
#pragma once

#include "silicon/isa/vector_access.hpp"
#include "silicon/isa/x87/x87.hpp"
#include "silicon/isa/x87/x87_host.hpp"

namespace cloister::silicon {

/// In Op::aux of x87 operations, besides any_address: how many times the instruction pops.
inline constexpr u8 x87_pops = 3;

/// FOP: the opcode's low three bits and the ModRM byte (SDM vol. 1, 8.1.9).
inline u64 x87_opcode(const Insn& insn) {
  const auto& m = insn.info.raw.modrm;
  return ((insn.info.opcode & 7u) << 8) | (u64{m.mod} << 6) | (u64{m.reg} << 3) | m.rm;
}

/// Fills in what every x87 row has: src is ST(i)'s i.
inline void x87_fill(const Insn& insn, Op& op, unsigned pops = 0) {
  op.imm = x87_opcode(insn);
  op.src = insn.info.raw.modrm.rm;
  op.aux = static_cast<u8>(pops);
  note_address(insn, op);
}

template <Handler handler, unsigned pops = 0>
Selected select_x87(const Insn& insn, Op& op) {
  x87_fill(insn, op, pops);
  return {handler};
}

inline void x87_pop_after(FpuState& fpu, const Op* op) {
  for (unsigned n = op->aux & x87_pops; n != 0; --n) x87_pop(fpu);
}

std::span<const Row> x87_arith_rows();
std::span<const Row> x87_compare_rows();
std::span<const Row> x87_load_rows();
std::span<const Row> x87_store_rows();
std::span<const Row> x87_stack_rows();
std::span<const Row> x87_transcendental_rows();
std::span<const Row> x87_env_rows();

}  // namespace cloister::silicon
