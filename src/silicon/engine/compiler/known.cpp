// The table of instructions, and the operands that each has code for.
#include "silicon/engine/compiler/known.hpp"

#include <Zydis/Zydis.h>

#include <array>
#include <limits>

#include "arch/regs.hpp"
#include "silicon/engine/compiler/layout.hpp"
#include "silicon/state/conditions.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {

namespace {

using enum Kind;
using namespace flag_set;

struct Row {
  ZydisMnemonic mnemonic;
  Known known;
};

constexpr Known alu(u32 digit, u8 reads = 0) { return {binary, digit, reads, all}; }
/// What they do to OF is defined for a count of 1, and to AF never: see Translator::shift().
constexpr Known shifts(u32 digit) { return {shift, digit, 0, all}; }
constexpr Known rotates(u32 digit) { return {shift, digit, 0, c | o}; }

/// By condition code, SDM vol. 1, app. B.
constexpr std::array<u8, 16> tested{o, o, c, c, z, z, c | z, c | z, s, s, p, p, s | o, s | o, z | s | o, z | s | o};
constexpr Known conditional(Kind kind, u32 condition) { return {kind, condition, tested[condition], 0}; }

#define CLOISTER_CONDITION(name, code)                                  \
  {ZYDIS_MNEMONIC_J##name, conditional(jump_if, code)},                 \
      {ZYDIS_MNEMONIC_CMOV##name, conditional(condition_move, code)}, { \
    ZYDIS_MNEMONIC_SET##name, conditional(condition_set, code)          \
  }

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_NOP, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCH, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCHNTA, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCHT0, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCHT1, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCHT2, {nothing}},
    {ZYDIS_MNEMONIC_PREFETCHW, {nothing}},
    {ZYDIS_MNEMONIC_ADD, alu(0)},
    {ZYDIS_MNEMONIC_OR, alu(1)},
    {ZYDIS_MNEMONIC_ADC, alu(2, c)},
    {ZYDIS_MNEMONIC_SBB, alu(3, c)},
    {ZYDIS_MNEMONIC_AND, alu(4)},
    {ZYDIS_MNEMONIC_SUB, alu(5)},
    {ZYDIS_MNEMONIC_XOR, alu(6)},
    {ZYDIS_MNEMONIC_CMP, alu(7)},
    {ZYDIS_MNEMONIC_TEST, {test, 0, 0, all}},
    {ZYDIS_MNEMONIC_MOV, {move}},
    {ZYDIS_MNEMONIC_INC, {unary, 0xff00, 0, all & ~c}},
    {ZYDIS_MNEMONIC_DEC, {unary, 0xff01, 0, all & ~c}},
    {ZYDIS_MNEMONIC_NOT, {unary, 0xf702}},
    {ZYDIS_MNEMONIC_NEG, {unary, 0xf703, 0, all}},
    {ZYDIS_MNEMONIC_ROL, rotates(0)},
    {ZYDIS_MNEMONIC_ROR, rotates(1)},
    {ZYDIS_MNEMONIC_SHL, shifts(4)},
    {ZYDIS_MNEMONIC_SHR, shifts(5)},
    {ZYDIS_MNEMONIC_SAR, shifts(7)},
    {ZYDIS_MNEMONIC_IMUL, {multiply, 0x0faf, 0, all}},
    {ZYDIS_MNEMONIC_MUL, {wide, 4, 0, all}},
    {ZYDIS_MNEMONIC_DIV, {divide, 6}},
    {ZYDIS_MNEMONIC_IDIV, {divide, 7}},
    {ZYDIS_MNEMONIC_BT, {bit, 4, 0, c}},
    {ZYDIS_MNEMONIC_BTS, {bit, 5, 0, c}},
    {ZYDIS_MNEMONIC_BTR, {bit, 6, 0, c}},
    {ZYDIS_MNEMONIC_BTC, {bit, 7, 0, c}},
    {ZYDIS_MNEMONIC_MOVZX, {extend, 0x0fb6}},
    {ZYDIS_MNEMONIC_MOVSX, {extend, 0x0fbe}},
    {ZYDIS_MNEMONIC_MOVSXD, {extend, 0x63}},
    {ZYDIS_MNEMONIC_LEA, {lea}},
    {ZYDIS_MNEMONIC_BSWAP, {swap_bytes}},
    {ZYDIS_MNEMONIC_XCHG, {exchange}},
    {ZYDIS_MNEMONIC_XADD, {exchange_add, 0, 0, all}},
    {ZYDIS_MNEMONIC_CMPXCHG, {compare_exchange, 0, 0, all}},
    {ZYDIS_MNEMONIC_PUSH, {push}},
    {ZYDIS_MNEMONIC_POP, {pop}},
    {ZYDIS_MNEMONIC_LEAVE, {leave_frame}},
    {ZYDIS_MNEMONIC_CWDE, {sign_rax}},
    {ZYDIS_MNEMONIC_CDQE, {sign_rax}},
    {ZYDIS_MNEMONIC_CDQ, {sign_rdx}},
    {ZYDIS_MNEMONIC_CQO, {sign_rdx}},
    {ZYDIS_MNEMONIC_JMP, {jump}},
    {ZYDIS_MNEMONIC_CALL, {call}},
    {ZYDIS_MNEMONIC_RET, {ret}},
    {ZYDIS_MNEMONIC_POPCNT, {count, 0xf30fb8, 0, all}},
    {ZYDIS_MNEMONIC_TZCNT, {count, 0xf30fbc, 0, all}},
    {ZYDIS_MNEMONIC_LZCNT, {count, 0xf30fbd, 0, all}},
    {ZYDIS_MNEMONIC_BSF, {scan, 0x0fbc, 0, all}},
    {ZYDIS_MNEMONIC_BSR, {scan, 0x0fbd, 0, all}},
    {ZYDIS_MNEMONIC_ANDN, {field, 0x0038f2, 0, all}},
    {ZYDIS_MNEMONIC_BEXTR, {field, 0x0038f7, 0, all}},
    {ZYDIS_MNEMONIC_BZHI, {field, 0x0038f5, 0, all}},
    {ZYDIS_MNEMONIC_PDEP, {field, 0xf238f5}},
    {ZYDIS_MNEMONIC_PEXT, {field, 0xf338f5}},
    {ZYDIS_MNEMONIC_SHLX, {field, 0x6638f7}},
    {ZYDIS_MNEMONIC_SHRX, {field, 0xf238f7}},
    {ZYDIS_MNEMONIC_SARX, {field, 0xf338f7}},
    {ZYDIS_MNEMONIC_RORX, {.kind = field, .code = 0xf23af0, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_BLSR, {lowest, 1, 0, all}},
    {ZYDIS_MNEMONIC_BLSMSK, {lowest, 2, 0, all}},
    {ZYDIS_MNEMONIC_BLSI, {lowest, 3, 0, all}},
    {ZYDIS_MNEMONIC_MULX, {mulx, 0xf238f6}},
    {ZYDIS_MNEMONIC_MOVBE, {move_swapped}},
    CLOISTER_EACH_CONDITION(CLOISTER_CONDITION),
};
#undef CLOISTER_CONDITION

constexpr auto table = [] {
  std::array<Known, ZYDIS_MNEMONIC_MAX_VALUE + 1> t{};
  for (const Row& row : rows) t[row.mnemonic] = row.known;
  return t;
}();

bool in(Operands o, std::initializer_list<Operands> list) {
  for (const Operands one : list)
    if (o == one) return true;
  return false;
}

/// AH, CH, DH and BH: their places are in the middle of registers.
constexpr bool is_high_byte(u8 r) { return r % 8 != 0; }

bool names_memory(Operands o) {
  using enum Operands;
  return in(o, {mem, reg_mem, reg_mem_imm, mem_reg, mem_imm, mem_cl, xmm_mem, mem_xmm});
}

/// The host has the instruction itself, and not another one in its place.
bool host_has(u16 mnemonic) {
  const HostFeatures& host = host_features();
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR: return true;
    case ZYDIS_MNEMONIC_POPCNT: return host.popcnt;
    case ZYDIS_MNEMONIC_LZCNT: return host.lzcnt;
    case ZYDIS_MNEMONIC_MOVBE: return host.movbe;
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_ANDN:
    case ZYDIS_MNEMONIC_BEXTR:
    case ZYDIS_MNEMONIC_BLSR:
    case ZYDIS_MNEMONIC_BLSMSK:
    case ZYDIS_MNEMONIC_BLSI: return host.bmi1;
    default: return host.bmi2;
  }
}

bool has_code_for(const Known& k, const Op& op, const Form& form) {
  using enum Operands;
  const Operands o = form.operands;
  if (names_memory(o) && form.memory == Mem::any) return false;
  // An offset in a page is added.
  constexpr i32 largest = std::numeric_limits<i32>::max() - static_cast<i32>(arch::page_size);
  if (op.base == reg_rip_base && op.disp > largest) return false;
  if (uses_high_byte(op, form)) {
    const bool has_code = k.kind == Kind::binary || k.kind == Kind::test || k.kind == Kind::move;
    return has_code && !form.locked && in(o, {reg_reg, reg_imm, reg_mem, mem_reg});
  }
  switch (k.kind) {
    case Kind::handler: return false;
    case Kind::nothing: return o == none;
    case Kind::sign_rax:
    case Kind::sign_rdx:
    case Kind::leave_frame: return o == implied && form.bytes >= 4;
    case Kind::binary:
    case Kind::test:
    case Kind::move: return in(o, {reg_reg, reg_imm, reg_mem, mem_reg, mem_imm});
    case Kind::unary: return in(o, {reg, mem});
    case Kind::shift: return in(o, {reg_imm, mem_imm, reg_cl});
    case Kind::multiply: return form.bytes >= 4 && in(o, {reg_reg, reg_mem, reg_reg_imm, reg_mem_imm});
    case Kind::wide:
    case Kind::divide: return form.bytes >= 4 && in(o, {source, mem});
    case Kind::bit: return form.bytes >= 4 && in(o, {reg_reg, reg_imm, mem_imm});
    case Kind::extend: return form.bytes >= 4 && in(o, {reg_reg, reg_mem});
    case Kind::lea: return o == reg_mem && form.bytes >= 4;
    case Kind::condition_move: return in(o, {reg_reg, reg_mem});
    case Kind::condition_set: return in(o, {reg, mem});
    case Kind::swap_bytes: return form.bytes >= 4;
    case Kind::exchange: return o == mem_reg || (o == reg_reg && form.bytes >= 4);
    case Kind::exchange_add: return o == mem_reg;
    case Kind::compare_exchange: return o == mem_reg && host_of[op.src / (form.bytes == 1 ? 8 : 1)] != no_register;
    case Kind::push: return form.bytes == 8 && in(o, {source, imm, mem});
    case Kind::pop: return form.bytes == 8 && o == reg;
    case Kind::jump_if: return o == target;
    case Kind::jump: return in(o, {target, source, mem});
    case Kind::call: return o == target || o == mem || (o == source && op.src != arch::rsp);
    case Kind::ret: return in(o, {none, imm});
    case Kind::count:
    case Kind::scan:
    case Kind::field:
    case Kind::lowest:
    case Kind::mulx: return form.bytes >= 4 && in(o, {reg_reg, reg_mem}) && host_has(op.mnemonic);
    case Kind::move_swapped: return form.bytes >= 4 && in(o, {reg_mem, mem_reg}) && host_has(op.mnemonic);
    case Kind::vector:
    case Kind::vector_flags: return in(o, {xmm_xmm, xmm_mem});
    case Kind::vector_move: return in(o, {xmm_xmm, xmm_mem, mem_xmm});
    case Kind::vector_shift: return in(o, {xmm_xmm, xmm_mem, xmm_imm});
    case Kind::vector_scalar: return in(o, {xmm_xmm, xmm_reg, xmm_mem, reg_xmm, mem_xmm});
    case Kind::vector_in: return in(o, {xmm_reg, xmm_mem});
    case Kind::vector_out: return in(o, {reg_xmm, mem_xmm});
    case Kind::vector_to_general: return in(o, {reg_xmm, reg_mem});
    case Kind::vex: return k.code != 0 && in(o, {xmm_xmm, xmm_mem});
    case Kind::vex_flags: return in(o, {xmm_xmm, xmm_mem});
    case Kind::vex_move: return (o == mem_xmm ? k.other : k.code) != 0 && in(o, {xmm_xmm, xmm_mem, mem_xmm});
    case Kind::vex_extract: return in(o, {xmm_xmm, mem_xmm});
    case Kind::vex_shift: return o == xmm_imm || (k.code != 0 && in(o, {xmm_xmm, xmm_mem}));
    case Kind::vex_scalar: return in(o, {xmm_xmm, xmm_reg, xmm_mem, reg_xmm, mem_xmm});
    case Kind::vex_in: return in(o, {xmm_reg, xmm_mem});
    case Kind::vex_to_general: return o == reg_xmm;
    case Kind::vex_zero: return o == none;
  }
  return false;
}

}  // namespace

Known known(const Op& op, const Form& form) {
  Known k = table[op.mnemonic];
  if (k.kind == Kind::handler) k = known_vector(op.mnemonic);
  if (k.kind == Kind::handler) k = known_vex(op.mnemonic);
  if (op.mnemonic == ZYDIS_MNEMONIC_IMUL && (form.operands == Operands::source || form.operands == Operands::mem))
    k = {Kind::wide, 5, 0, all};
  return has_code_for(k, op, form) ? k : Known{};
}

bool uses_high_byte(const Op& op, const Form& form) {
  using enum Operands;
  if (form.bytes != 1) return false;
  return (in(form.operands, {reg, reg_reg, reg_imm, reg_cl, reg_mem}) && is_high_byte(op.dst)) ||
         (in(form.operands, {reg_reg, mem_reg}) && is_high_byte(op.src));
}

bool may_miss(const Known& k, const Form& form) {
  switch (k.kind) {
    case Kind::push:
    case Kind::pop:
    case Kind::leave_frame:
    case Kind::call:
    case Kind::divide:
    case Kind::ret: return true;
    case Kind::nothing:
    case Kind::lea: return false;
    default: return names_memory(form.operands);
  }
}

}  // namespace cloister::silicon
