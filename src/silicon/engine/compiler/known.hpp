// Which instructions are translated, and what they do to flags: by mnemonic. All others call their handlers.
#pragma once

#include "silicon/state/op.hpp"

namespace cloister::silicon {

/// Sets of status flags.
namespace flag_set {
inline constexpr u8 c = 1, p = 2, a = 4, z = 8, s = 16, o = 32, all = 63;
}

enum class Kind : u8 {
  handler,   ///< not translated
  nothing,   ///< NOP
  binary,    ///< opcode rm, reg; +2: reg, rm; 81 /n and 83 /n with an immediate
  test,      ///< 85; F7 /0
  move,      ///< 89, 8B, C7
  unary,     ///< F7 /n or FF /n: code is digit | opcode
  shift,     ///< C1 /n
  extend,    ///< 0F code reg, rm of fewer bytes
  multiply,  ///< IMUL of two or three operands
  wide,      ///< F7 /4 and /5: MUL, IMUL of one operand
  divide,    ///< F7 /6: DIV
  bit,       ///< 0F BA /n; 0F 83 | n << 3 with a register
  lea,
  condition_move,
  condition_set,
  swap_bytes,
  push,
  pop,
  leave_frame,
  sign_rax,  ///< CWDE, CDQE
  sign_rdx,  ///< CQO
  jump_if,
  jump,
  call,
  ret,
};

struct Known {
  Kind kind = Kind::handler;
  u16 code = 0;              ///< of the opcode, its digit, or the condition
  u8 reads = 0, writes = 0;  ///< flags
};

/// What is to be made of an operation in 64-bit code: Kind::handler, if its operands are some that the translator has
/// no code for.
Known known(const Op& op, const Form& form);

/// Its memory operand, or the stack, may fault or miss the TLB; or its quotient may.
bool may_miss(const Known& k, const Form& form);

}  // namespace cloister::silicon
