// How a handler ends. Exactly one of:
//
//   CLOISTER_NEXT(cpu, op)                      the next operation of the block
//   return raise(cpu, op, fault)                an exception at this instruction; nothing was changed
//   return jump_direct<slot>(cpu, op, rip)      a branch whose target is fixed (slot 0: not taken, 1: taken)
//   return jump_indirect(cpu, op, rip)          any other branch
//   return leave_after(cpu, op)                 done, and the run loop must look at the processor's state again
//   return part_done(cpu, op)                   part of a repeated string instruction is done: come back to it
//   return again(cpu, op)                       nothing of this instruction is done: look its block up, and come back
//   return vm_exit(cpu, op)                     cpu.exit is filled in; instruction_length is added here
//   return                                      only after load(), store() or the like said false
#pragma once

#include "silicon/state/cpu.hpp"

// Optimised builds thread handler to handler by sibling calls; sanitizer and debug builds return to a loop.
#if defined(CLOISTER_THREADED) && defined(__clang__)
#define CLOISTER_NEXT(cpu, op) [[clang::musttail]] return (op)[1].handler(cpu, (op) + 1)
#elif defined(CLOISTER_THREADED)
#define CLOISTER_NEXT(cpu, op) return (op)[1].handler(cpu, (op) + 1)
#else
#define CLOISTER_NEXT(cpu, op) \
  do {                         \
    (cpu).next = (op) + 1;     \
    return;                    \
  } while (false)
#endif

namespace cloister::silicon {

void raise(Cpu& cpu, const Op* op, Fault fault);
inline void raise_ud(Cpu& cpu, const Op* op) { raise(cpu, op, {arch::vector::ud, false, 0}); }
inline void raise_nm(Cpu& cpu, const Op* op) { raise(cpu, op, {arch::vector::nm, false, 0}); }
inline void raise_gp(Cpu& cpu, const Op* op, u32 error = 0) { raise(cpu, op, {arch::vector::gp, true, error}); }
inline void raise_ss(Cpu& cpu, const Op* op, u32 error = 0) { raise(cpu, op, {arch::vector::ss, true, error}); }
inline void raise_de(Cpu& cpu, const Op* op) { raise(cpu, op, {arch::vector::de, false, 0}); }

/// Goes on at the first operation of `block`, at `rip`, if the budget allows.
[[gnu::always_inline]] inline void enter_block(Cpu& cpu, Block* block, u64 rip) {
  const i64 left = cpu.budget - static_cast<i64>(block->count);
  if (left < 0 || cpu.attention.load(std::memory_order_relaxed)) [[unlikely]] {
    cpu.rip = rip;
    cpu.leave = Leave::jump;
    return;
  }
  cpu.budget = left;
  cpu.block = block;
  cpu.gpr[reg_rip_base] = rip;
  const Op* const first = block->ops.data();
#if defined(CLOISTER_THREADED)
  return first->handler(cpu, first);
#else
  cpu.next = first;
#endif
}

/// Leaves for the run loop, which finds the block at `rip`.
[[gnu::always_inline]] inline void jump_slow(Cpu& cpu, u64 rip) {
  cpu.rip = rip;
  cpu.leave = Leave::jump;
}

/// The block at `rip` if it was found lately, else null.
[[gnu::always_inline]] inline Block* recent_block(Cpu& cpu, u64 rip) {
  const JumpCacheEntry* e = cpu.jump_entries(rip);
  const u64 tag = cpu.jump_tag(rip);
  if (e->tag != tag && (++e)->tag != tag) [[unlikely]]
    return nullptr;
  return e->block->stale() ? nullptr : e->block;
}

[[gnu::always_inline]] inline void jump_indirect(Cpu& cpu, const Op*, u64 rip) {
  Block* const target = recent_block(cpu, rip);
  if (target != nullptr) [[likely]]
    return enter_block(cpu, target, rip);
  return jump_slow(cpu, rip);
}

template <unsigned slot>
[[gnu::always_inline]] inline void jump_direct(Cpu& cpu, const Op*, u64 rip) {
  Block* target = cpu.block->links[slot];
  if (target != nullptr && !target->stale()) [[likely]]
    return enter_block(cpu, target, rip);
  target = recent_block(cpu, rip);
  if (target == nullptr) return jump_slow(cpu, rip);
  // Inside the page the translation is the one in use, so the way needs no check the next time.
  if (arch::page_base(rip) == arch::page_base(cpu.gpr[reg_rip_base]) && !target->crosses())
    cpu.block->links[slot] = target;
  return enter_block(cpu, target, rip);
}

void leave_after(Cpu& cpu, const Op* op);
/// Both come back to this instruction after the run loop has looked for interrupts; nothing is retired.
void again(Cpu& cpu, const Op* op);
void part_done(Cpu& cpu, const Op* op);
void vm_exit(Cpu& cpu, const Op* op);

/// If a store made `block` stale, makes what is left of it leave for the run loop.
void poison_if_stale(Block& block);

}  // namespace cloister::silicon
