// A decoded operation, what it is, and a basic block of them: plain data, which an engine runs (engine/engine.hpp).
#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "arch/types.hpp"

namespace cloister::silicon {

struct Cpu;
struct Op;

/// The semantics of one operation. Needs nothing but the processor's state and the operands in `op`. A handler ends in
/// one of the ways listed in dispatch.hpp.
using Handler = void (*)(Cpu& cpu, const Op* op);

/// Register numbers that an address may name besides 0 to 15.
inline constexpr u8 reg_zero = 16;      ///< always 0: no base, no index
inline constexpr u8 reg_rip_base = 17;  ///< linear RIP of the block's first instruction
/// Segment number of an address without a segment base (ES, CS, SS, DS in 64-bit mode).
inline constexpr u8 seg_none = 6;

struct Op {
  Handler handler = nullptr;
  u64 imm = 0;          ///< immediate, sign-extended; branches: displacement from the block's start to the target
  i32 disp = 0;         ///< of the memory operand; RIP-relative: from the block's start
  u8 dst = 0, src = 0;  ///< registers; 8-bit registers are byte offsets into Cpu::gpr (AH = 1, SPL = 32, …)
  u8 base = reg_zero, index = reg_zero, scale = 0;  ///< scale: shift count; Mem::any: and address size in bytes << 4
  u8 seg = seg_none;                                ///< segment of the memory operand: arch::SegReg, or seg_none
  u8 length = 0;                                    ///< bytes of the instruction
  u8 aux = 0;                                       ///< the handler's own: condition, third register, …
  u16 offset = 0;                                   ///< of the instruction from the block's start
  u16 mnemonic = 0;                                 ///< ZydisMnemonic, for traces and counts
};
static_assert(sizeof(Op) == 32);

/// How an instruction computes its memory operand's address.
enum class Mem : u8 {
  flat,  ///< 64-bit address size, no index, no segment base: base + disp
  full,  ///< 64-bit address size: segment base + base + (index << scale) + disp
  any,   ///< everything else: smaller address sizes, segment limits
};

/// Where an instruction's operands are in its Op. What it does with them is its mnemonic's.
enum class Operands : u8 {
  other,    ///< only its handler knows
  none,     ///< it names none: RET, NOP
  implied,  ///< those that its mnemonic names: CDQE, LEAVE
  reg,      ///< dst
  source,   ///< src, which it only reads: PUSH, JMP and CALL of a register
  imm,
  mem,
  reg_reg,  ///< dst, src
  reg_imm,
  reg_cl,
  reg_mem,
  reg_reg_imm,  ///< dst, src, immediate
  reg_mem_imm,
  mem_reg,  ///< memory, src
  mem_imm,
  mem_cl,
  target,   ///< of a direct branch: imm bytes from the block's start
  xmm_xmm,  ///< dst, src: vector registers; here and below an immediate may follow
  xmm_mem,
  xmm_reg,  ///< dst, and src, a general register
  xmm_imm,
  mem_xmm,
  reg_xmm,  ///< dst, a general register, and src
};

/// What an operation is, for an engine that does it without its handler. The rows that choose the handler say it.
struct Form {
  Operands operands = Operands::other;
  u8 bytes = 0;            ///< of the first operand
  u8 source_bytes = 0;     ///< of the second, if it is no immediate; sign and zero extension have it smaller
  Mem memory = Mem::flat;  ///< how the address of a memory operand is computed
  bool writes = false;     ///< the first operand
  bool locked = false;     ///< LOCK
};
static_assert(sizeof(Form) == 6);

struct Block;

/// What an engine that translates keeps with a block: its code reads it, so the offsets count.
struct BlockCode {
  const void* entry = nullptr;  ///< where code of the engine's enters the block: its budget is not yet taken
  Block* block = nullptr;
  const Op* ops = nullptr;
  const Handler* handlers = nullptr;
  /// If it ends in a call: the block that this returned to, or one that finds out.
  Block* after_call = nullptr;
  u32 entries = 0;  ///< before it was translated
  u32 rest = 0;     ///< instructions of other blocks that its code has paid for, too
  bool translated = false;
};

inline constexpr unsigned max_block_ops = 48;

struct Block {
  u64 second_page = 0;  ///< where the rest is, if its one instruction crosses a page; else 0
  const std::atomic<u32>* generation_now = nullptr;  ///< of the page: a store into it moves it on
  const std::atomic<u32>* second_generation_now = nullptr;
  u32 generation = 0, second_generation = 0;  ///< when the block was decoded
  u32 count = 0;                              ///< instructions
  u32 prologue = 0;                           ///< operations before them: 1 if the block crosses a page, else 0
  u32 bytes = 0;
  bool passing = false;  ///< it is there for one run only: an instruction by itself
  BlockCode code;
  /// Where it goes next inside its own page (0: not taken or cut, 1: taken): the page's translation is the one in use.
  std::array<Block*, 2> links{};
  std::vector<Op> ops;               ///< prologue, count instructions, then one that leaves
  std::vector<Form> forms;           ///< of each operation
  std::vector<Handler> handlers;     ///< of each operation, if the engine has put others into `ops`; else empty
  u64 found_rip = 0, found_key = 0;  ///< if it crosses: where the look-up last found its second page

  bool crosses() const { return second_generation_now != nullptr; }
  /// The bytes in its page may have changed.
  bool stale() const { return generation_now->load(std::memory_order_acquire) != generation; }
  /// If it crosses, the bytes in the second page may have changed.
  bool second_stale() const {
    return crosses() && second_generation_now->load(std::memory_order_acquire) != second_generation;
  }
  /// If it crosses, RIP may lead to another second page than the one that it was decoded from.
  bool second_elsewhere(u64 rip, u64 key) const { return crosses() && (found_rip != rip || found_key != key); }
};

}  // namespace cloister::silicon
