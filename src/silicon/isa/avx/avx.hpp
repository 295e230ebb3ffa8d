// VEX-encoded vector instructions (SDM vol. 1, ch. 14; vol. 2A, 2.3): a row says what the host's own instruction makes
// of operands in memory, and one of a few handlers brings the operands there and the result back.
//
// A row runs under the guest's MXCSR. It leaves the host's upper halves clear, which hold nothing of the guest's: those
// are in FpuState::upper.
#pragma once

#include "silicon/isa/insn.hpp"
#include "silicon/isa/vector/sse_exception.hpp"
#include "silicon/state/cpu.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

struct Ymm {
  Xmm low, high;
};

/// Operands and results of one instruction. The rows' code knows the offsets.
struct alignas(32) AvxValues {
  Ymm result;     ///< before: the destination's old value, if the row reads it
  Ymm first;      ///< the register in VEX.vvvv
  Ymm second;     ///< the register or memory of ModRM, memory with zeros above
  Ymm third;      ///< the register in the immediate
  u64 number;     ///< of a general register, or the result for one
  u64 immediate;  ///< 8 bits
  u64 flags;      ///< RFLAGS' status bits
};
static_assert(sizeof(AvxValues) == 160);

using AvxRun = void (*)(AvxValues&);

/// Where a row's result goes.
enum class AvxResult : u8 { vector, number, flags };
/// Which of a mnemonic's forms a row is.
enum class AvxForm : u8 {
  any,
  immediate,
  no_immediate,
  to_number,  ///< the first operand is a general register
  not_to_number,
  from_memory,
  dword,  ///< the number in a general register or memory has 32 bits
  qword,
  three,  ///< operands
  not_three,
};

struct AvxRow {
  ZydisMnemonic mnemonic;
  AvxRun narrow = nullptr, wide = nullptr;  ///< for 128 and 256 bits
  Lanes lanes = Lanes::integer;
  Arithmetic arithmetic = Arithmetic::none;
  AvxResult result = AvxResult::vector;
  AvxForm form = AvxForm::any;
  bool reads_result = false;
  bool aligned = false;  ///< an operand in memory must be
  /// While an exception is unmasked, in place of what lanes and arithmetic say. True: one was raised.
  bool (*exception)(Cpu& cpu, const Op* op, const AvxValues& v, bool wide) = nullptr;
};

/// The row's handler and operands for an instruction of its mnemonic; nothing if the host lacks it.
Selected select_avx(const Insn& insn, Op& op, const AvxRow& row);

/// After the row ran, while a floating-point exception is unmasked (SDM vol. 1, 14.8; 11.5). True: one was raised, and
/// the result must not be stored.
bool avx_exception(Cpu& cpu, const Op* op, const AvxRow& row, const AvxValues& v, bool wide);

/// The host has what the instruction belongs to.
bool host_runs(const Insn& insn);

[[gnu::always_inline]] inline Ymm get_ymm(const Cpu& cpu, unsigned r) { return {cpu.fpu.xmm[r], cpu.fpu.upper[r]}; }
[[gnu::always_inline]] inline void set_ymm(Cpu& cpu, unsigned r, const Ymm& value) {
  cpu.fpu.xmm[r] = value.low;
  cpu.fpu.upper[r] = value.high;
}

inline bool is_vex(const Insn& insn) { return insn.info.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX; }
/// It works on 256 bits. VEX.L does not say so: instructions on scalars ignore it (SDM vol. 2A, 2.3.6.2).
inline bool is_wide(const Insn& insn) {
  for (unsigned i = 0; i < insn.visible(); ++i) {
    if (insn.is_reg(i) ? insn.reg_class(i) == ZYDIS_REGCLASS_YMM : insn.is_mem(i) && insn.bits(i) == 256) return true;
  }
  return false;
}
inline bool is_vector(const Insn& insn, unsigned i) {
  return insn.is_reg(i) && (insn.reg_class(i) == ZYDIS_REGCLASS_XMM || insn.reg_class(i) == ZYDIS_REGCLASS_YMM);
}

}  // namespace cloister::silicon
