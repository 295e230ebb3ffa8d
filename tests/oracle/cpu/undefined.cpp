// What the manual leaves undefined, by mnemonic: SDM vol. 1, appendix A (table A-2) and vol. 2's instruction pages.
#include <algorithm>
#include <array>
#include <cstring>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/compare.hpp"

namespace cloister::oracle {
namespace {

using namespace arch::rflags;

struct Undefined {
  ZydisMnemonic mnemonic;
  u64 flags;
};

constexpr Undefined always[] = {
    {ZYDIS_MNEMONIC_AND, af},
    {ZYDIS_MNEMONIC_OR, af},
    {ZYDIS_MNEMONIC_XOR, af},
    {ZYDIS_MNEMONIC_TEST, af},
    {ZYDIS_MNEMONIC_ANDN, af | pf},
    {ZYDIS_MNEMONIC_BEXTR, af | sf | pf},
    {ZYDIS_MNEMONIC_BLSI, af | pf},
    {ZYDIS_MNEMONIC_BLSMSK, af | pf},
    {ZYDIS_MNEMONIC_BLSR, af | pf},
    {ZYDIS_MNEMONIC_BZHI, af | pf},
    {ZYDIS_MNEMONIC_MUL, sf | zf | af | pf},
    {ZYDIS_MNEMONIC_IMUL, sf | zf | af | pf},
    {ZYDIS_MNEMONIC_DIV, status},
    {ZYDIS_MNEMONIC_IDIV, status},
    {ZYDIS_MNEMONIC_BSF, cf | of | sf | af | pf},
    {ZYDIS_MNEMONIC_BSR, cf | of | sf | af | pf},
    {ZYDIS_MNEMONIC_TZCNT, of | sf | af | pf},
    {ZYDIS_MNEMONIC_LZCNT, of | sf | af | pf},
    {ZYDIS_MNEMONIC_BT, of | sf | af | pf},
    {ZYDIS_MNEMONIC_BTS, of | sf | af | pf},
    {ZYDIS_MNEMONIC_BTR, of | sf | af | pf},
    {ZYDIS_MNEMONIC_BTC, of | sf | af | pf},
    {ZYDIS_MNEMONIC_AAA, of | sf | zf | pf},
    {ZYDIS_MNEMONIC_AAS, of | sf | zf | pf},
    {ZYDIS_MNEMONIC_AAM, of | af | cf},
    {ZYDIS_MNEMONIC_AAD, of | af | cf},
    {ZYDIS_MNEMONIC_DAA, of},
    {ZYDIS_MNEMONIC_DAS, of},
};

enum class Shift : u8 { none, arithmetic, logical, rotate, double_width };

Shift kind_of(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_SAR: return Shift::arithmetic;
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR: return Shift::logical;
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR: return Shift::rotate;
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: return Shift::double_width;
    default: return Shift::none;
  }
}

/// The count as the processor masks it.
unsigned count_of(const Instruction& i, const State& before) {
  const ZydisDecodedOperand& op = i.operand[i.info.operand_count_visible - 1u];
  const u64 count = op.type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? op.imm.value.u : before.gpr[arch::rcx];
  return static_cast<unsigned>(count & (i.operand[0].size == 64 ? 63 : 31));
}

u64 undefined_shift_flags(Shift kind, unsigned count, unsigned bits) {
  if (count == 0) return 0;
  u64 flags = kind == Shift::rotate ? 0 : af;
  if (count != 1) flags |= of;
  if (kind == Shift::logical && count >= bits) flags |= cf;
  if (kind == Shift::double_width && count > bits) flags = status;
  return flags;
}

template <std::size_t n>
bool contains(const std::array<ZydisMnemonic, n>& list, ZydisMnemonic m) {
  return std::find(list.begin(), list.end(), m) != list.end();
}

constexpr std::array reciprocals = {ZYDIS_MNEMONIC_VRCPPS,   ZYDIS_MNEMONIC_VRCPSS, ZYDIS_MNEMONIC_VRSQRTPS,
                                    ZYDIS_MNEMONIC_VRSQRTSS, ZYDIS_MNEMONIC_RCPPS,  ZYDIS_MNEMONIC_RCPSS,
                                    ZYDIS_MNEMONIC_RSQRTPS,  ZYDIS_MNEMONIC_RSQRTSS};
constexpr std::array transcendentals = {ZYDIS_MNEMONIC_FSIN,  ZYDIS_MNEMONIC_FCOS,   ZYDIS_MNEMONIC_FSINCOS,
                                        ZYDIS_MNEMONIC_FPTAN, ZYDIS_MNEMONIC_FPATAN, ZYDIS_MNEMONIC_F2XM1,
                                        ZYDIS_MNEMONIC_FYL2X, ZYDIS_MNEMONIC_FYL2XP1};
constexpr std::array flag_comparisons = {ZYDIS_MNEMONIC_FCOMI, ZYDIS_MNEMONIC_FCOMIP, ZYDIS_MNEMONIC_FUCOMI,
                                         ZYDIS_MNEMONIC_FUCOMIP};
/// Instructions whose C0, C2 and C3 the manual defines.
constexpr std::array condition_codes = {
    ZYDIS_MNEMONIC_FCOM,   ZYDIS_MNEMONIC_FCOMP,   ZYDIS_MNEMONIC_FCOMPP, ZYDIS_MNEMONIC_FUCOM,
    ZYDIS_MNEMONIC_FUCOMP, ZYDIS_MNEMONIC_FUCOMPP, ZYDIS_MNEMONIC_FICOM,  ZYDIS_MNEMONIC_FICOMP,
    ZYDIS_MNEMONIC_FTST,   ZYDIS_MNEMONIC_FXAM,    ZYDIS_MNEMONIC_FPREM,  ZYDIS_MNEMONIC_FPREM1,
    ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FRSTOR,  ZYDIS_MNEMONIC_FNINIT, ZYDIS_MNEMONIC_FNSAVE};
constexpr u16 c0 = 1u << 8, c1 = 1u << 9, c2 = 1u << 10, c3 = 1u << 14;

}  // namespace

u64 undefined_flags(const Instruction& i, const State& before, const State& after) {
  const ZydisMnemonic m = i.info.mnemonic;
  // Left alone after an unmasked invalid operation (SDM vol. 2A, FCOMI), which processors do not heed.
  if (contains(flag_comparisons, m)) return (after.fpu.status & (1u << 7)) != 0 ? zf | pf | cf : 0;
  for (const Undefined& u : always)
    if (u.mnemonic == m) return u.flags;
  const Shift kind = kind_of(m);
  return kind == Shift::none ? 0 : undefined_shift_flags(kind, count_of(i, before), i.operand[0].size);
}

bool undefined_destination(const Instruction& i, const State& before) {
  return kind_of(i.info.mnemonic) == Shift::double_width && count_of(i, before) > i.operand[0].size;
}

u64 vendor_bits(const Instruction& i, const State& before, const Outcome& native, int n) {
  constexpr u64 upper = ~u64{0} << 32;
  if (i.info.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && (native.state.rflags & zf) == 0) {
    return i.operand[0].size == 32 && number_of(i.operand[0].reg.value) == n ? upper : 0;
  }
  const bool string = i.info.meta.category == ZYDIS_CATEGORY_STRINGOP && i.repeated() && i.info.address_width == 32;
  if (!string || (!native.vector && static_cast<u32>(before.gpr[arch::rcx]) != 0)) return 0;
  return n == arch::rcx || n == arch::rsi || n == arch::rdi ? upper : 0;
}

u16 undefined_x87_status(const Instruction& i, const State& before, const State& after) {
  const ZydisMnemonic m = i.info.mnemonic;
  if (i.info.meta.isa_ext != ZYDIS_ISA_EXT_X87) return 0;
  constexpr u16 invalid = 1, underflow = 1u << 4, precision = 1u << 5, summary = 1u << 7;
  const u16 raised = after.fpu.status;
  // Whether a result within tolerance was rounded, and a masked underflow, which is one only if it was.
  const u16 rounded = static_cast<u16>(precision | (before.fpu.control & underflow));
  switch (m) {
    case ZYDIS_MNEMONIC_FSIN:
    case ZYDIS_MNEMONIC_FCOS:
    case ZYDIS_MNEMONIC_FSINCOS:
    case ZYDIS_MNEMONIC_FPTAN: return c0 | c1 | c3 | rounded;
    case ZYDIS_MNEMONIC_FPATAN:
    case ZYDIS_MNEMONIC_F2XM1:
    case ZYDIS_MNEMONIC_FYL2X:
    case ZYDIS_MNEMONIC_FYL2XP1: return c0 | c1 | c2 | c3 | rounded;
    case ZYDIS_MNEMONIC_FFREE:
    case ZYDIS_MNEMONIC_FFREEP: return c0 | c1 | c2 | c3;
    // C1 is defined for stack underflow only (FCMOVcc), or cleared (SDM) where AMD leaves it (FCOMI and its like).
    case ZYDIS_MNEMONIC_FCMOVB:
    case ZYDIS_MNEMONIC_FCMOVBE:
    case ZYDIS_MNEMONIC_FCMOVE:
    case ZYDIS_MNEMONIC_FCMOVNB:
    case ZYDIS_MNEMONIC_FCMOVNBE:
    case ZYDIS_MNEMONIC_FCMOVNE:
    case ZYDIS_MNEMONIC_FCMOVNU:
    case ZYDIS_MNEMONIC_FCMOVU:
    case ZYDIS_MNEMONIC_FCOMI:
    case ZYDIS_MNEMONIC_FCOMIP:
    case ZYDIS_MNEMONIC_FUCOMI:
    case ZYDIS_MNEMONIC_FUCOMIP: return c0 | c1 | c2 | c3;
    // After an invalid operation or a NaN there is no quotient.
    case ZYDIS_MNEMONIC_FPREM:
    case ZYDIS_MNEMONIC_FPREM1:
      return (raised & ~before.fpu.status & invalid) != 0 || (after.fpu.st[0].sign_exponent & 0x7fff) == 0x7fff ||
                     (raised & summary) != 0
                 ? c0 | c1 | c2 | c3
                 : 0;
    // FLD ST(i) of an empty register onto a full stack: overflow or underflow, in no order that the manual gives.
    case ZYDIS_MNEMONIC_FLD:
      if (i.memory() == nullptr && before.fpu.valid != 0 && before.fpu.valid != 0xff) return c0 | c1 | c2 | c3;
      break;
    default: break;
  }
  if (contains(condition_codes, m)) {
    // Comparisons set the codes after an invalid operation only if it is masked (SDM); AMD always sets them.
    const bool comparison = m != ZYDIS_MNEMONIC_FLDENV && m != ZYDIS_MNEMONIC_FRSTOR && m != ZYDIS_MNEMONIC_FNINIT &&
                            m != ZYDIS_MNEMONIC_FNSAVE && m != ZYDIS_MNEMONIC_FXAM;
    return comparison && (raised & summary) != 0 ? c0 | c2 | c3 : 0;
  }
  return c0 | c2 | c3;
}

bool vendor_x87_stack(const Instruction& i, const Outcome& native) {
  if (i.info.mnemonic == ZYDIS_MNEMONIC_CVTPI2PS && i.memory() != nullptr) return true;
  const auto is_mmx = [](const ZydisDecodedOperand& op) {
    return op.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(op.reg.value) == ZYDIS_REGCLASS_MMX;
  };
  const auto operands = i.operands();
  return native.vector && std::any_of(operands.begin(), operands.end(), is_mmx);
}

Tolerance tolerance_of(ZydisMnemonic m) {
  if (contains(reciprocals, m)) return Tolerance::reciprocal;
  return contains(transcendentals, m) ? Tolerance::transcendental : Tolerance::exact;
}

Ignored ignored_memory(const Instruction& i) {
  switch (i.info.mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE: return i.info.operand_width == 16 ? Ignored{{{6, 14}, {}}} : Ignored{{{12, 28}, {}}};
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64: return {{{6, 24}, {28, 32}}};
    default: return {};
  }
}

bool stores_in_parts(const Instruction& i) {
  static constexpr std::array list = {ZYDIS_MNEMONIC_ENTER,  ZYDIS_MNEMONIC_PUSHA,   ZYDIS_MNEMONIC_PUSHAD,
                                      ZYDIS_MNEMONIC_FNSAVE, ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FLDENV,
                                      ZYDIS_MNEMONIC_FBSTP,  ZYDIS_MNEMONIC_FXSAVE,  ZYDIS_MNEMONIC_FXSAVE64,
                                      ZYDIS_MNEMONIC_XSAVE,  ZYDIS_MNEMONIC_XSAVE64};
  const bool extended = i.info.mnemonic == ZYDIS_MNEMONIC_FSTP && i.memory() != nullptr && i.memory()->size == 80;
  return extended || contains(list, i.info.mnemonic);
}

}  // namespace cloister::oracle
