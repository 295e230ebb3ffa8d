// The rows of system instructions and far transfers, and choices that rows of other instructions leave to them.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> system_rows();
std::span<const Row> control_rows();
std::span<const Row> segment_rows();
std::span<const Row> iret_rows();
std::span<const Row> software_interrupt_rows();
std::span<const Row> syscall_rows();

/// MOV and POP with a segment register, MOV with a control or debug register.
Selected select_mov_special(const Insn& insn, Op& op);
/// MOV to and from control and debug registers.
Selected select_mov_control(const Insn& insn, Op& op);
/// Far JMP, CALL and RET.
Selected select_far(const Insn& insn, Op& op);

}  // namespace cloister::silicon
