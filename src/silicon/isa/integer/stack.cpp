// The stack instructions: PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE (SDM vol. 1, 6.2, 6.5 and 7.3.1.5; POPF: vol. 2B,
// table 4-21).
#include "silicon/isa/stack.hpp"

#include "silicon/isa/system/rows.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {
namespace {

/// PUSH of a register or an immediate.
template <class Stack, class T, From from>
struct Push {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    if (!push<Stack, Path, T>(cpu, op, second<from, T>(cpu, op))) return Path::template failed<Push>(cpu, op);
    CLOISTER_NEXT(cpu, op);
  }
};
/// A selector is zero-extended to 64 bits; in a slot of 32 bits it is written alone (SDM vol. 2B, PUSH).
template <class Stack, class T>
struct PushSegment {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    using Written = std::conditional_t<std::is_same_v<T, u32>, u16, T>;
    u64 pointer = Stack::moved(cpu, Stack::pointer(cpu), i64{sizeof(Written)} - i64{sizeof(T)});
    if (!push_at<Stack, Path, Written>(cpu, op, pointer, cpu.seg[op->src].selector)) {
      return Path::template failed<PushSegment>(cpu, op);
    }
    Stack::set_pointer(cpu, pointer);
    CLOISTER_NEXT(cpu, op);
  }
};
template <class Stack, class T, Mem kind>
struct PushMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::read, linear)) return;
    T v;
    if (!Path::template load<T>(cpu, op, linear, v)) return Path::template failed<PushMemory>(cpu, op);
    if (!push<Stack, Path, T>(cpu, op, v)) return Path::template failed<PushMemory>(cpu, op);
    CLOISTER_NEXT(cpu, op);
  }
};
/// The pointer moves before the register is written: POP RSP ends with the value from memory.
template <class Stack, class T>
struct Pop {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    T v;
    if (!pop<Stack, Path, T>(cpu, op, v)) return Path::template failed<Pop>(cpu, op);
    cpu.set_reg<T>(op->dst, v);
    CLOISTER_NEXT(cpu, op);
  }
};
/// An address that uses the stack pointer uses the one after the pop.
template <class Stack, class T, Mem kind>
struct PopMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const u64 before = cpu.gpr[arch::rsp];
    T v;
    if (!pop<Stack, Path, T>(cpu, op, v)) return;
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::write, linear) || !Path::template store<T>(cpu, op, linear, v)) {
      cpu.gpr[arch::rsp] = before;
      return;
    }
    CLOISTER_NEXT(cpu, op);
  }
};

template <class T>
void pusha(Cpu& cpu, const Op* op) {
  u64 pointer = Stack32::pointer(cpu);
  for (u8 r = 0; r < 8; ++r) {
    if (!push_at<Stack32, Cold, T>(cpu, op, pointer, cpu.reg<T>(r))) return;
  }
  Stack32::set_pointer(cpu, pointer);
  CLOISTER_NEXT(cpu, op);
}

/// All but the stack pointer; one after the other, so that a fault leaves the registers before it loaded.
template <class T>
void popa(Cpu& cpu, const Op* op) {
  u64 pointer = Stack32::pointer(cpu);
  for (u8 r = 8; r-- > 0;) {
    T v;
    if (!pop_at<Stack32, Cold, T>(cpu, op, pointer, v)) return;
    if (r != arch::rsp) cpu.set_reg<T>(r, v);
  }
  Stack32::set_pointer(cpu, pointer);
  CLOISTER_NEXT(cpu, op);
}

// ------------------------------------------------------------------------------------------------ flags

namespace flag = arch::rflags;

/// Virtual-8086 mode without VME: PUSHF and POPF need IOPL 3 (SDM vol. 3B, 21.2.7).
bool vm86_forbids(const Cpu& cpu) { return (cpu.system_flags & flag::vm) != 0 && cpu.iopl() < 3; }

template <class Stack, class T>
struct PushFlags {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    if (vm86_forbids(cpu)) return raise_gp(cpu, op);
    const u64 image = cpu.rflags() & ~(flag::rf | flag::vm);
    if (!push<Stack, Path, T>(cpu, op, static_cast<T>(image))) return Path::template failed<PushFlags>(cpu, op);
    CLOISTER_NEXT(cpu, op);
  }
};

/// The system flags that POPF may change: IF up to IOPL, IOPL at CPL 0.
u64 changeable(const Cpu& cpu) {
  u64 mask = flag::tf | flag::nt | flag::ac | flag::id;
  if (cpu.cpl <= cpu.iopl()) mask |= flag::if_;
  if (cpu.cpl == 0 && (cpu.system_flags & flag::vm) == 0) mask |= flag::iopl;
  return mask;
}

template <class Stack, class T>
struct PopFlags {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    if (vm86_forbids(cpu)) return raise_gp(cpu, op);
    T image;
    if (!pop<Stack, Path, T>(cpu, op, image)) return Path::template failed<PopFlags>(cpu, op);
    const u64 mask = changeable(cpu) & static_cast<T>(~T{0});
    const u64 cleared = sizeof(T) > 2 ? flag::rf : 0;
    const u64 system = (cpu.system_flags & ~mask & ~cleared) | (image & mask);
    if (system != cpu.system_flags) {
      set_rflags(cpu, system | (image & (flag::status | flag::df)));
      return leave_after(cpu, op);
    }
    cpu.flags.set(image);
    cpu.df = (image & flag::df) != 0;
    CLOISTER_NEXT(cpu, op);
  }
};

// ------------------------------------------------------------------------------------------------ frames

/// ENTER size, level. Everything is pushed before a register changes.
template <class Stack, class T>
[[gnu::noinline]] bool make_frame(Cpu& cpu, const Op* op) {
  const u64 size = op->imm;
  const unsigned level = op->aux;
  u64 pointer = Stack::pointer(cpu);
  if (!push_at<Stack, Cold, T>(cpu, op, pointer, cpu.reg<T>(arch::rbp))) return false;
  const u64 frame = pointer;
  if (level > 0) {
    u64 display = Stack::moved(cpu, cpu.gpr[arch::rbp], 0);
    for (unsigned i = 1; i < level; ++i) {
      display = Stack::moved(cpu, display, -i64{sizeof(T)});
      u64 from = display;
      T v;
      if (!pop_at<Stack, Cold, T>(cpu, op, from, v) || !push_at<Stack, Cold, T>(cpu, op, pointer, v)) return false;
    }
    if (!push_at<Stack, Cold, T>(cpu, op, pointer, static_cast<T>(frame))) return false;
  }
  // The new top of the stack must be writable, though nothing is written there.
  const u64 end = Stack::moved(cpu, pointer, -static_cast<i64>(size));
  u64 linear;
  if (!Stack::template linear<Cold>(cpu, op, end, sizeof(T), Access::write, linear)) return false;
  if (!load_for_store_cold<T>(cpu, op, linear).ok) return false;
  cpu.set_reg<T>(arch::rbp, static_cast<T>(frame));
  Stack::set_pointer(cpu, end);
  return true;
}
template <class Stack, class T>
void enter(Cpu& cpu, const Op* op) {
  if (!make_frame<Stack, T>(cpu, op)) return;
  CLOISTER_NEXT(cpu, op);
}

template <class Stack, class T>
struct LeaveFrame {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 pointer = Stack::moved(cpu, cpu.gpr[arch::rbp], 0);
    T v;
    if (!pop_at<Stack, Path, T>(cpu, op, pointer, v)) return Path::template failed<LeaveFrame>(cpu, op);
    Stack::set_pointer(cpu, pointer);
    cpu.set_reg<T>(arch::rbp, v);
    CLOISTER_NEXT(cpu, op);
  }
};

// ------------------------------------------------------------------------------------------------ selection

Selected select_push(const Insn& insn, Op& op) {
  Form form = form_as_encoded(insn, false);
  form.bytes = static_cast<u8>(insn.info.operand_width / 8);
  if (insn.is_reg(0)) form.operands = insn.reg_class(0) == ZYDIS_REGCLASS_SEGMENT ? Operands::other : Operands::source;
  return {by_stack(insn, insn.info.operand_width,
                   [&](auto stack, auto size) -> Handler {
                     using Stack = decltype(stack);
                     using T = decltype(size);
                     if (insn.is_mem(0)) {
                       return by_memory_rare(insn.memory, [](auto m) -> Handler {
                         return hot_unless_any<PushMemory<Stack, T, m.kind>, m.kind>();
                       });
                     }
                     if (insn.is_imm(0)) {
                       op.imm = insn.imm(0);
                       return hot_if_64<Push<Stack, T, From::imm>, Stack>();
                     }
                     op.src = insn.reg(0);
                     if (insn.reg_class(0) == ZYDIS_REGCLASS_SEGMENT) return cold<PushSegment<Stack, T>>;
                     return hot_if_64<Push<Stack, T, From::reg>, Stack>();
                   }),
          false, form};
}

Selected select_pop(const Insn& insn, Op& op) {
  if (insn.is_reg(0) && insn.reg_class(0) == ZYDIS_REGCLASS_SEGMENT) return select_mov_special(insn, op);
  return {by_stack(insn, insn.info.operand_width,
                   [&](auto stack, auto size) -> Handler {
                     using Stack = decltype(stack);
                     using T = decltype(size);
                     if (insn.is_mem(0)) {
                       return by_memory_rare(insn.memory,
                                             [](auto m) -> Handler { return cold<PopMemory<Stack, T, m.kind>>; });
                     }
                     op.dst = insn.reg(0);
                     return hot_if_64<Pop<Stack, T>, Stack>();
                   }),
          false, form_as_encoded(insn, true)};
}

/// An instruction without explicit operands, from a shape over (Stack, T).
template <template <class, class> class Shape>
Selected select_plain(const Insn& insn, Op&) {
  return {by_stack(insn, insn.info.operand_width, [](auto stack, auto size) -> Handler {
    return hot_if_64<Shape<decltype(stack), decltype(size)>, decltype(stack)>();
  })};
}

Selected select_leave(const Insn& insn, Op& op) {
  Selected s = select_plain<LeaveFrame>(insn, op);
  s.form = {.operands = Operands::implied, .bytes = static_cast<u8>(insn.info.operand_width / 8), .writes = true};
  return s;
}

Selected select_enter(const Insn& insn, Op& op) {
  op.imm = insn.imm(0) & 0xffff;
  op.aux = insn.imm(1) & 31;
  return {by_stack(insn, insn.info.operand_width,
                   [](auto stack, auto size) -> Handler { return &enter<decltype(stack), decltype(size)>; })};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_PUSH, &select_push},
    {ZYDIS_MNEMONIC_POP, &select_pop},
    {ZYDIS_MNEMONIC_PUSHA, &always<&pusha<u16>>},
    {ZYDIS_MNEMONIC_PUSHAD, &always<&pusha<u32>>},
    {ZYDIS_MNEMONIC_POPA, &always<&popa<u16>>},
    {ZYDIS_MNEMONIC_POPAD, &always<&popa<u32>>},
    {ZYDIS_MNEMONIC_PUSHF, &select_plain<PushFlags>},
    {ZYDIS_MNEMONIC_PUSHFD, &select_plain<PushFlags>},
    {ZYDIS_MNEMONIC_PUSHFQ, &select_plain<PushFlags>},
    {ZYDIS_MNEMONIC_POPF, &select_plain<PopFlags>},
    {ZYDIS_MNEMONIC_POPFD, &select_plain<PopFlags>},
    {ZYDIS_MNEMONIC_POPFQ, &select_plain<PopFlags>},
    {ZYDIS_MNEMONIC_ENTER, &select_enter},
    {ZYDIS_MNEMONIC_LEAVE, &select_leave},
};

}  // namespace

std::span<const Row> stack_rows() { return rows; }

}  // namespace cloister::silicon
