// Which instructions are translated, and what they do to flags: by mnemonic. All others call their handlers.
#pragma once

#include <span>

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
  divide,    ///< F7 /6 and /7: DIV, IDIV
  bit,       ///< 0F BA /n; 0F 83 | n << 3 with a register
  lea,
  condition_move,
  condition_set,
  swap_bytes,
  exchange,          ///< 87
  exchange_add,      ///< 0F C1
  compare_exchange,  ///< 0F B1
  push,
  pop,
  leave_frame,
  sign_rax,  ///< CWDE, CDQE
  sign_rdx,  ///< CQO
  jump_if,
  jump,
  call,
  ret,
  count,   ///< code reg, rm: POPCNT, TZCNT, LZCNT
  scan,    ///< the same: BSF, BSR
  field,   ///< VEX-encoded: code reg, rm, with Op::aux in vvvv or an immediate
  lowest,  ///< VEX-encoded, too: 0F38F3 /n vvvv, rm
  mulx,
  move_swapped,  ///< MOVBE
  // SSE and what has its operands; an immediate follows, if there is one.
  vector,             ///< code xmm, xmm or memory
  vector_move,        ///< the same, and other: code memory, xmm
  vector_shift,       ///< the same, and other: opcode | digit << 24, with an immediate
  vector_scalar,      ///< MOVD, MOVQ: code xmm, general or memory; other: the way back
  vector_in,          ///< code xmm, general or memory
  vector_out,         ///< code general or memory, xmm
  vector_to_general,  ///< code general, xmm or memory
  vector_flags,       ///< the same as `vector`, but that the result is flags
  // VEX-encoded, for 128 and 256 bits; Op::aux has the register in VEX.vvvv.
  vex,             ///< code register, vvvv, register or memory
  vex_move,        ///< the same, and other: code memory, register
  vex_extract,     ///< code register or memory, register
  vex_shift,       ///< as vex, and other: opcode | digit << 24, with an immediate: vvvv is what is written
  vex_scalar,      ///< VMOVD, VMOVQ: code register, general or memory; other: the way back
  vex_in,          ///< code register, vvvv, general or memory
  vex_to_general,  ///< code general, register or memory
  vex_flags,       ///< code vvvv, register or memory
  vex_zero,        ///< VZEROUPPER
};
constexpr bool is_vector(Kind k) { return k >= Kind::vector; }
constexpr bool is_vex(Kind k) { return k >= Kind::vex; }

struct Known {
  Kind kind = Kind::handler;
  u32 code = 0;              ///< of the opcode, its digit, or the condition
  u8 reads = 0, writes = 0;  ///< flags
  u8 traits = 0;             ///< of vector instructions, as below
  u32 other = 0;             ///< a second opcode
};

/// What is to be known of vector instructions beside their opcode.
namespace trait {
inline constexpr u8 imm = 1,  ///< an immediate of a byte
    computes = 2,             ///< by MXCSR, and may raise exceptions
    any_address = 4,          ///< 16 bytes of memory need no alignment
    aligned = 8,              ///< of VEX-encoded ones: memory needs it
    w = 16,                   ///< VEX.W
    third = 32;               ///< the immediate is a register
}

/// The row of a vector instruction, by ZydisMnemonic: Kind::handler, if it is none.
Known known_vector(u16 mnemonic);
/// Of a VEX-encoded one.
Known known_vex(u16 mnemonic);
/// Every row of known_vector().
struct VectorRow {
  u16 mnemonic;
  Known known;
};
std::span<const VectorRow> vector_rows();

/// What is to be made of an operation in 64-bit code: Kind::handler, if its operands are some that the translator has
/// no code for.
Known known(const Op& op, const Form& form);

/// An operand is AH, CH, DH or BH.
bool uses_high_byte(const Op& op, const Form& form);

/// Its memory operand, or the stack, may fault or miss the TLB; or its quotient may.
bool may_miss(const Known& k, const Form& form);

}  // namespace cloister::silicon
