// Near branches: Jcc JMP CALL RET, JCXZ and LOOP (SDM vol. 1, 6.4 and 7.3.8).
//
// Outside 64-bit mode a target is cut to the operand size and checked against CS's limit; in it an indirect target must
// be canonical. Both are #GP(0) at the branch, before anything changed.
#include "silicon/isa/integer/condition.hpp"
#include "silicon/isa/shapes.hpp"
#include "silicon/isa/stack.hpp"
#include "silicon/isa/system/rows.hpp"
#include "silicon/state/conditions.hpp"

namespace cloister::silicon {
namespace {

/// Targets in 64-bit mode. A direct branch there is not checked: leaving the canonical range faults at the fetch.
struct Code64 {
  using Stack = Stack64;
  [[gnu::always_inline]] static u64 direct(const Cpu& cpu, const Op* op) { return cpu.gpr[reg_rip_base] + op->imm; }
  [[gnu::always_inline]] static u64 after(const Cpu& cpu, const Op* op) {
    return cpu.gpr[reg_rip_base] + op->offset + op->length;
  }
  static bool reaches_direct(const Cpu&, u64) { return true; }
  static bool reaches(const Cpu&, u64 rip) { return is_canonical(rip); }
};

/// Targets of T's size in 16- and 32-bit code.
template <class T>
struct Code32 {
  using Stack = Stack32;
  static u64 direct(const Cpu& cpu, const Op* op) { return static_cast<T>(cpu.gpr[reg_rip_base] + op->imm); }
  static u64 after(const Cpu& cpu, const Op* op) { return cpu.rip_after(op); }
  static bool reaches_direct(const Cpu& cpu, u64 rip) { return rip <= cpu.seg[arch::seg_cs].limit; }
  static bool reaches(const Cpu& cpu, u64 rip) { return rip <= cpu.seg[arch::seg_cs].limit; }
};

/// f(Code, T) for the mode and the operand size.
template <class F>
Handler by_code(const Insn& insn, F f) {
  if (insn.bits64()) return f(Code64{}, u64{});
  if (insn.info.operand_width == 16) return f(Code32<u16>{}, u16{});
  return f(Code32<u32>{}, u32{});
}

template <class Code>
[[gnu::always_inline]] inline void take(Cpu& cpu, const Op* op) {
  const u64 target = Code::direct(cpu, op);
  if (!Code::reaches_direct(cpu, target)) return raise_gp(cpu, op);
  return jump_direct<1>(cpu, op, target);
}

template <class Code, unsigned code>
void jcc(Cpu& cpu, const Op* op) {
  if (condition<code>(cpu.flags)) return take<Code>(cpu, op);
  return jump_direct<0>(cpu, op, Code::after(cpu, op));
}

template <class Code>
void jmp_direct(Cpu& cpu, const Op* op) {
  return take<Code>(cpu, op);
}

template <class Code, class T>
struct CallDirect {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const u64 target = Code::direct(cpu, op);
    if (!Code::reaches_direct(cpu, target)) return raise_gp(cpu, op);
    if (!push<typename Code::Stack, Path, T>(cpu, op, static_cast<T>(Code::after(cpu, op)))) {
      return Path::template failed<CallDirect>(cpu, op);
    }
    return jump_direct<1>(cpu, op, target);
  }
};

/// A target out of reach. CALL looks at the stack's address first.
template <class Code, bool call>
[[gnu::noinline]] void reject(Cpu& cpu, const Op* op) {
  if (call && std::is_same_v<Code, Code64> && !is_canonical(cpu.gpr[arch::rsp] - sizeof(u64))) {
    return raise_ss(cpu, op);
  }
  return raise_gp(cpu, op);
}

/// JMP and CALL with the target in a register.
template <class Code, class T, bool call>
struct RegisterTarget {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const u64 target = cpu.reg<T>(op->src);
    if (!Code::reaches(cpu, target)) return reject<Code, call>(cpu, op);
    if constexpr (call) {
      if (!push<typename Code::Stack, Path, T>(cpu, op, static_cast<T>(Code::after(cpu, op)))) {
        return Path::template failed<RegisterTarget>(cpu, op);
      }
    }
    return jump_indirect(cpu, op, target);
  }
};

/// JMP and CALL with the target in memory.
template <class Code, class T, Mem kind, bool call>
struct MemoryTarget {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::read, linear)) return;
    T target;
    if (!Path::template load<T>(cpu, op, linear, target)) return Path::template failed<MemoryTarget>(cpu, op);
    if (!Code::reaches(cpu, target)) return reject<Code, call>(cpu, op);
    if constexpr (call) {
      if (!push<typename Code::Stack, Path, T>(cpu, op, static_cast<T>(Code::after(cpu, op)))) {
        return Path::template failed<MemoryTarget>(cpu, op);
      }
    }
    return jump_indirect(cpu, op, target);
  }
};

/// RET, and RET imm16, which also drops imm bytes of arguments.
template <class Code, class T>
struct Ret {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    using Stack = typename Code::Stack;
    u64 pointer = Stack::pointer(cpu);
    T target;
    if (!pop_at<Stack, Path, T>(cpu, op, pointer, target)) return Path::template failed<Ret>(cpu, op);
    if (!Code::reaches(cpu, target)) return raise_gp(cpu, op);
    Stack::set_pointer(cpu, Stack::moved(cpu, pointer, static_cast<i64>(op->imm)));
    return jump_indirect(cpu, op, target);
  }
};

/// JCXZ and its kin: the count register is as wide as addresses are.
template <class Code, class Count>
void jump_if_count_zero(Cpu& cpu, const Op* op) {
  if (cpu.reg<Count>(arch::rcx) == 0) return take<Code>(cpu, op);
  return jump_direct<0>(cpu, op, Code::after(cpu, op));
}

enum class LoopWhile : u8 { counting, zero, not_zero };

template <class Code, class Count, LoopWhile loop_while>
void loop(Cpu& cpu, const Op* op) {
  const Count left = static_cast<Count>(cpu.reg<Count>(arch::rcx) - 1);
  bool taken = left != 0;
  if constexpr (loop_while == LoopWhile::zero) taken = taken && cpu.flags.zf();
  if constexpr (loop_while == LoopWhile::not_zero) taken = taken && !cpu.flags.zf();
  const u64 target = Code::direct(cpu, op);
  if (taken && !Code::reaches_direct(cpu, target)) return raise_gp(cpu, op);
  cpu.set_reg<Count>(arch::rcx, left);
  if (taken) return jump_direct<1>(cpu, op, target);
  return jump_direct<0>(cpu, op, Code::after(cpu, op));
}

// ------------------------------------------------------------------------------------------------ selection

/// The displacement from the block's start to the target.
void set_target(const Insn& insn, Op& op) { op.imm = insn.offset + insn.info.length + insn.imm(0); }

template <unsigned code>
Selected select_jcc(const Insn& insn, Op& op) {
  set_target(insn, op);
  return {by_code(insn, [](auto c, auto) -> Handler { return &jcc<decltype(c), code>; }),
          true,
          {.operands = Operands::target}};
}

template <bool call>
Selected select_jmp_or_call(const Insn& insn, Op& op) {
  if (insn.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return select_far(insn, op);
  Form form = form_as_encoded(insn, false);
  if (insn.is_imm(0)) form = {.operands = Operands::target};
  if (insn.is_reg(0)) form.operands = Operands::source;
  return {by_code(insn,
                  [&](auto c, auto size) -> Handler {
                    using Code = decltype(c);
                    using T = decltype(size);
                    if (insn.is_imm(0)) {
                      set_target(insn, op);
                      if constexpr (call) {
                        return hot_if_64<CallDirect<Code, T>, typename Code::Stack>();
                      } else {
                        return &jmp_direct<Code>;
                      }
                    }
                    if (insn.is_reg(0)) {
                      op.src = insn.reg(0);
                      return hot_if_64<RegisterTarget<Code, T, call>, typename Code::Stack>();
                    }
                    return by_memory_rare(insn.memory, [](auto m) -> Handler {
                      return hot_unless_any<MemoryTarget<Code, T, m.kind, call>, m.kind>();
                    });
                  }),
          true, form};
}

Selected select_ret(const Insn& insn, Op& op) {
  if (insn.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return select_far(insn, op);
  op.imm = insn.visible() != 0 ? insn.imm(0) : 0;
  return {by_code(insn,
                  [](auto c, auto size) -> Handler {
                    using Code = decltype(c);
                    return hot_if_64<Ret<Code, decltype(size)>, typename Code::Stack>();
                  }),
          true,
          {.operands = insn.visible() != 0 ? Operands::imm : Operands::none}};
}

template <class Count>
Selected select_count_zero(const Insn& insn, Op& op) {
  set_target(insn, op);
  return {by_code(insn, [](auto c, auto) -> Handler { return &jump_if_count_zero<decltype(c), Count>; }), true};
}

template <LoopWhile loop_while>
Selected select_loop(const Insn& insn, Op& op) {
  set_target(insn, op);
  return {by_code(insn,
                  [&](auto c, auto) -> Handler {
                    using Code = decltype(c);
                    return by_wide_size(insn.info.address_width,
                                        [](auto size) -> Handler { return &loop<Code, decltype(size), loop_while>; });
                  }),
          true};
}

#define CLOISTER_JCC(name, code) \
  { ZYDIS_MNEMONIC_J##name, &select_jcc<code> }

constexpr Row rows[] = {
    CLOISTER_EACH_CONDITION(CLOISTER_JCC),
    {ZYDIS_MNEMONIC_JMP, &select_jmp_or_call<false>},
    {ZYDIS_MNEMONIC_CALL, &select_jmp_or_call<true>},
    {ZYDIS_MNEMONIC_RET, &select_ret},
    {ZYDIS_MNEMONIC_JCXZ, &select_count_zero<u16>},
    {ZYDIS_MNEMONIC_JECXZ, &select_count_zero<u32>},
    {ZYDIS_MNEMONIC_JRCXZ, &select_count_zero<u64>},
    {ZYDIS_MNEMONIC_LOOP, &select_loop<LoopWhile::counting>},
    {ZYDIS_MNEMONIC_LOOPE, &select_loop<LoopWhile::zero>},
    {ZYDIS_MNEMONIC_LOOPNE, &select_loop<LoopWhile::not_zero>},
};
#undef CLOISTER_JCC

}  // namespace

std::span<const Row> branch_rows() { return rows; }

}  // namespace cloister::silicon
