// From instruction bytes to an Op. Zydis decodes; a row per mnemonic selects the handler for the operands' kinds and
// sizes. A mnemonic without a row, or operands that its row does not take, raise #UD and are counted.
#pragma once

#include <span>
#include <string>

#include "silicon/cpu/insn.hpp"

namespace cloister::silicon {

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
std::span<const Row> iret_rows();
std::span<const Row> software_interrupt_rows();
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
