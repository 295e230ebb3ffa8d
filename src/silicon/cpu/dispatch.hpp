// How a handler ends. Exactly one of:
//
//   CLOISTER_NEXT(cpu, op)                      the next operation of the block
//   return raise(cpu, op, fault)                an exception at this instruction; nothing was changed
//   return jump_direct<slot>(cpu, op, rip)      a branch whose target is fixed (slot 0: not taken, 1: taken)
//   return jump_indirect(cpu, op, rip)          any other branch
//   return leave_after(cpu, op)                 done, and the run loop must look at the processor's state again
//   return again(cpu, op)                       part of a repeated string instruction is done: come back to it
//   return vm_exit(cpu, op)                     cpu.exit is filled in; instruction_length is added here
//   return                                      only after load(), store() or the like said false
#pragma once

#include "silicon/cpu/cpu.hpp"

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

template <unsigned slot>
void jump_direct(Cpu& cpu, const Op* op, u64 rip);
void jump_indirect(Cpu& cpu, const Op* op, u64 rip);
void leave_after(Cpu& cpu, const Op* op);
void again(Cpu& cpu, const Op* op);
void vm_exit(Cpu& cpu, const Op* op);

}  // namespace cloister::silicon
