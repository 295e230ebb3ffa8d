// From instruction bytes to an Op. Zydis decodes; a row per mnemonic selects the handler for the operands' kinds and
// sizes. A mnemonic without a row, or operands that its row does not take, raise #UD and are counted.
#pragma once

#include <Zydis/Zydis.h>

#include <span>

#include "silicon/cpu/op.hpp"

namespace cloister::silicon {

/// What decoding depends on: code size, and nothing else.
enum class CodeMode : u8 { bits64, compat32, compat16, protected32, protected16, real16 };

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
};

using Select = Selected (*)(const Insn& insn, Op& op);

struct Row {
  ZydisMnemonic mnemonic;
  Select select;
};

// The rows, by room of the instruction set. Each is defined in the file that has its handlers' name.
std::span<const Row> integer_rows();
std::span<const Row> bit_rows();
std::span<const Row> string_rows();
std::span<const Row> branch_rows();
std::span<const Row> stack_rows();
std::span<const Row> legacy_rows();  ///< AAA, BOUND, … and other instructions of 32-bit code alone
std::span<const Row> sse_rows();
std::span<const Row> sse_integer_rows();
std::span<const Row> mmx_rows();
std::span<const Row> crypto_rows();
std::span<const Row> x87_rows();
std::span<const Row> xsave_rows();
std::span<const Row> system_rows();
std::span<const Row> control_rows();
std::span<const Row> segment_rows();
std::span<const Row> far_rows();
std::span<const Row> syscall_rows();
std::span<const Row> sgx_rows();

/// The segment of a string instruction's source, whose operand may be hidden: an override, or DS.
u8 source_segment(const Insn& insn);

/// MOV and POP with a segment register, MOV with a control or debug register: in the system and segment rows' files.
Selected select_mov_special(const Insn& insn, Op& op);
/// MOV to and from control and debug registers.
Selected select_mov_control(const Insn& insn, Op& op);
/// Far JMP, CALL and RET.
Selected select_far(const Insn& insn, Op& op);

/// Decodes one instruction at `bytes` into `op`. Never fails: what cannot be decoded gets a handler that raises the
/// right exception (#UD; #GP for more than 15 bytes). `available`: bytes that could be fetched; if more are needed,
/// `truncated` is set and `op` is not filled in.
struct Decoded {
  bool ends_block = false;
  bool truncated = false;
};
/// In enclave mode some instructions are undefined, more of them without SGX2 (SDM vol. 3D, table 36-3 "illegal
/// instructions").
enum class EnclaveCode : u8 { outside, sgx1, sgx2 };
Decoded decode(std::span<const u8> available, CodeMode mode, u16 offset, Op& op,
               EnclaveCode where = EnclaveCode::outside);

/// As decode(), but only says what the dispatcher makes of it: for tests and reports.
struct FormName {
  bool known = false;  ///< a row takes it
  std::string name;    ///< "add r64, m64"
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
};
FormName form_of(std::span<const u8> bytes, CodeMode mode);

/// Not implemented: #UD, counted under the mnemonic's name; `op->imm` is the ZydisISASet.
void op_unimplemented(Cpu& cpu, const Op* op);
/// #UD that the manual asks for.
void op_undefined(Cpu& cpu, const Op* op);

}  // namespace cloister::silicon
