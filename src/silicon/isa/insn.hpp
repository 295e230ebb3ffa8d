// An instruction as Zydis decoded it, and what a row of the dispatch tables makes of it.
#pragma once

#include <Zydis/Zydis.h>

#include <span>

#include "silicon/state/modes.hpp"

namespace cloister::silicon {

/// One decoded instruction on its way to an Op. `op`'s memory operand (base, index, scale, disp, seg) is already filled
/// in when a row sees it.
struct Insn {
  ZydisDecodedInstruction info;
  ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
  CodeMode mode = CodeMode::bits64;
  bool has_memory = false;  ///< an explicit memory operand
  Mem memory = Mem::flat;   ///< its kind
  u16 offset = 0;           ///< from the block's start

  bool bits64() const { return mode == CodeMode::bits64; }
  unsigned visible() const { return info.operand_count_visible; }
  bool is_reg(unsigned i) const { return operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER; }
  bool is_mem(unsigned i) const { return operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY; }
  bool is_imm(unsigned i) const { return operand[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }
  unsigned bits(unsigned i) const { return operand[i].size; }
  /// Register number of operand i: 0 to 15 (general, MMX 0 to 7, XMM, segment, control, debug); for 8-bit general
  /// registers the byte offset into Cpu::gpr (AH = 1, BPL = 40).
  u8 reg(unsigned i) const;
  ZydisRegisterClass reg_class(unsigned i) const { return ZydisRegisterGetClass(operand[i].reg.value); }
  /// Immediate operand i, sign-extended to 64 bits if the encoding does so.
  u64 imm(unsigned i) const { return operand[i].imm.value.u; }
  bool lock() const { return (info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0; }
  /// F3 and F2 as repeat prefixes of a string instruction.
  bool rep() const { return (info.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0; }
  bool repne() const { return (info.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0; }
};

/// A row's choice. A null handler: these operands are not implemented.
struct Selected {
  Handler handler = nullptr;
  bool ends_block = false;  ///< the handler never goes on to the next operation
  Form form = {};
};

using Select = Selected (*)(const Insn& insn, Op& op);

struct Row {
  ZydisMnemonic mnemonic;
  Select select;
};

/// The form of an instruction whose Op has its explicit operands as they are encoded, up to two.
Form form_as_encoded(const Insn& insn, bool writes);

/// Of one that writes Op::dst from operand `source`, a register or memory; a third register, in Op::aux, is its
/// mnemonic's.
Form form_with_source(const Insn& insn, unsigned source);

/// The segment of a string instruction's source, whose operand may be hidden: an override, or DS.
u8 source_segment(const Insn& insn);

/// #UD that the manual asks for.
void op_undefined(Cpu& cpu, const Op* op);

/// In enclave mode some instructions are undefined, more of them without SGX2 (SDM vol. 3D, table 36-3 "illegal
/// instructions").
enum class EnclaveCode : u8 { outside, sgx1, sgx2 };

}  // namespace cloister::silicon
