// Code that all blocks share: into translated code and out of it.
//
// Between them stands the convention of handlers (state/dispatch.hpp): a handler is entered by a jump, with the
// processor and the operation as arguments, and the address of `left` on the stack. So handlers and translated code
// follow each other in any order, and whoever leaves for the run loop returns.
#pragma once

#include "silicon/engine/compiler/layout.hpp"

namespace cloister::silicon {

/// What is not code of this folder's, as handlers are: entered by a jump, and may go on to any of them.
struct Outside {
  /// Enters a block that is not translated, at reg_rip_base.
  void (*enter)(Cpu& cpu, Block* block);
  /// A direct branch of cpu.block that has not been linked: to reg_rip_base.
  void (*branch)(Cpu& cpu, Block* from, u64 slot);
  /// The operation `op` of `block` may not run translated, nor those after it: SSE or AVX is blocked, or has
  /// unmasked exceptions.
  void (*give_up)(Cpu& cpu, Block* block, u64 op);
  /// A function: gives the flags the form of an image.
  void (*make_image)(Cpu& cpu);
};

struct Stubs {
  /// Runs from an operation until something leaves.
  void (*run)(Cpu& cpu, const Op* first) = nullptr;
  // Their addresses in code; all but the first want the guest's registers in the host's, and the flags in memory.
  const u8* enter = nullptr;          ///< as a handler; r15: where to go on, with the registers loaded
  const u8* enter_vectors = nullptr;  ///< the same, and the XMM registers, too
  const u8* enter_upper = nullptr;    ///< the same, and the YMM registers
  const u8* handler = nullptr;        ///< rax: index of an operation, r15: BlockCode; its handler does it
  const u8* look_up = nullptr;        ///< rax: where a branch goes
  const u8* return_to = nullptr;      ///< the same of a return
  /// r15: offset in Cpu::returns; a return to Cpu::rip, whose block the call does not know
  const u8* first_return = nullptr;
  const u8* branch = nullptr;     ///< rax: slot, r15: BlockCode; a branch to reg_rip_base that is not linked
  const u8* leave = nullptr;      ///< for the run loop, at reg_rip_base
  const u8* interpret = nullptr;  ///< rax: Block, which is entered at reg_rip_base
  // Called, with rax: an operation, r15: BlockCode. The XMM registers are loaded, or the block is given up.
  const u8* vectors = nullptr;
  const u8* arithmetic = nullptr;  ///< for what computes by MXCSR
  const u8* upper = nullptr;       ///< the same of the YMM registers

  Stubs() = default;
  /// Emits them; `code` runs where it says it will.
  Stubs(Encoder& code, const Layout& layout, const Outside& outside);
};

}  // namespace cloister::silicon
