// The stack: PUSH and POP of one value by every instruction that does so (SDM vol. 1, 6.2).
//
// In 64-bit mode the stack pointer is RSP and has neither base nor limit. Elsewhere SS.B makes it ESP or SP.
#pragma once

#include "silicon/isa/shapes.hpp"
#include "silicon/mmu/segment_access.hpp"
#include "silicon/state/modes.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

/// How the mode computes stack addresses.
struct Stack64 {
  static u64 pointer(const Cpu& cpu) { return cpu.gpr[arch::rsp]; }
  static u64 moved(const Cpu&, u64 pointer, i64 by) { return pointer + static_cast<u64>(by); }
  static void set_pointer(Cpu& cpu, u64 pointer) { cpu.gpr[arch::rsp] = pointer; }
  /// A stack address that is not canonical is #SS(0), not #GP(0); only the cold path can meet one.
  template <class Path>
  [[gnu::always_inline]] static bool linear(Cpu& cpu, const Op* op, u64 pointer, unsigned bytes, Access, u64& out) {
    out = pointer;
    if constexpr (std::is_same_v<Path, Cold>) {
      if (!is_canonical(pointer) || !is_canonical(pointer + bytes - 1)) {
        raise_ss(cpu, op);
        return false;
      }
    }
    return true;
  }
};

struct Stack32 {
  static u64 mask(const Cpu& cpu) { return is_big(cpu.seg[arch::seg_ss]) ? 0xffff'ffff : 0xffff; }
  static u64 pointer(const Cpu& cpu) { return cpu.gpr[arch::rsp] & mask(cpu); }
  static u64 moved(const Cpu& cpu, u64 pointer, i64 by) { return (pointer + static_cast<u64>(by)) & mask(cpu); }
  static void set_pointer(Cpu& cpu, u64 pointer) {
    if (is_big(cpu.seg[arch::seg_ss])) {
      cpu.set_reg<u32>(arch::rsp, static_cast<u32>(pointer));
    } else {
      cpu.set_reg<u16>(arch::rsp, static_cast<u16>(pointer));
    }
  }
  template <class Path>
  [[gnu::always_inline]] static bool linear(Cpu& cpu, const Op* op, u64 pointer, unsigned bytes, Access access,
                                            u64& out) {
    const Maybe m = linear_in_segment(cpu, op, arch::seg_ss, static_cast<u32>(pointer), bytes, access);
    out = m.value;
    return m.ok;
  }
};

/// Writes `value` below `pointer` and moves it down; the register is left alone. False: it faulted.
template <class Stack, class Path, class T>
[[gnu::always_inline]] inline bool push_at(Cpu& cpu, const Op* op, u64& pointer, T value) {
  const u64 below = Stack::moved(cpu, pointer, -i64{sizeof(T)});
  u64 linear;
  if (!Stack::template linear<Path>(cpu, op, below, sizeof(T), Access::write, linear)) return false;
  if (!Path::template store<T>(cpu, op, linear, value)) return false;
  pointer = below;
  return true;
}
/// Reads at `pointer` and moves it up; the register is left alone. False: it faulted.
template <class Stack, class Path, class T>
[[gnu::always_inline]] inline bool pop_at(Cpu& cpu, const Op* op, u64& pointer, T& value) {
  u64 linear;
  if (!Stack::template linear<Path>(cpu, op, pointer, sizeof(T), Access::read, linear)) return false;
  if (!Path::template load<T>(cpu, op, linear, value)) return false;
  pointer = Stack::moved(cpu, pointer, sizeof(T));
  return true;
}
/// One PUSH, with the register.
template <class Stack, class Path, class T>
[[gnu::always_inline]] inline bool push(Cpu& cpu, const Op* op, T value) {
  u64 pointer = Stack::pointer(cpu);
  if (!push_at<Stack, Path, T>(cpu, op, pointer, value)) return false;
  Stack::set_pointer(cpu, pointer);
  return true;
}
/// One POP, with the register.
template <class Stack, class Path, class T>
[[gnu::always_inline]] inline bool pop(Cpu& cpu, const Op* op, T& value) {
  u64 pointer = Stack::pointer(cpu);
  if (!pop_at<Stack, Path, T>(cpu, op, pointer, value)) return false;
  Stack::set_pointer(cpu, pointer);
  return true;
}

/// f(Stack, T) for the mode and the operand size, null for a size that the mode does not have.
template <class F>
Handler by_stack(const Insn& insn, unsigned bits, F f) {
  if (insn.bits64()) {
    if (bits == 64) return f(Stack64{}, u64{});
    if (bits == 16) return f(Stack64{}, u16{});
    return nullptr;
  }
  if (bits == 32) return f(Stack32{}, u32{});
  if (bits == 16) return f(Stack32{}, u16{});
  return nullptr;
}

template <class Shape, class Stack>
constexpr Handler hot_if_64() {
  if constexpr (std::is_same_v<Stack, Stack64>) {
    return hot<Shape>;
  } else {
    return cold<Shape>;
  }
}

}  // namespace cloister::silicon
