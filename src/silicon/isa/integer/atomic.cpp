// XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B (SDM vol. 1, 7.3.1.2; vol. 2; locking: vol. 3A, 9.1.2).
//
// A compare-and-exchange always writes its memory operand, the old value if the comparison failed; so it needs write
// access in either case.
#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

/// *linear = f(*linear), with LOCK atomically. The value before it.
template <bool locked, class T, class F>
[[gnu::always_inline]] inline bool update(Cpu& cpu, const Op* op, u64 linear, T& old, F&& f) {
  if constexpr (locked) {
    return atomic_update<T>(cpu, op, linear, old, f);
  } else {
    return load_for_store<T>(cpu, op, linear, old) && store<T>(cpu, op, linear, f(old));
  }
}

// ------------------------------------------------------------------------------------------------ XADD

template <class T>
void xadd_registers(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->dst), b = cpu.reg<T>(op->src), r = static_cast<T>(a + b);
  cpu.set_reg<T>(op->src, a);
  cpu.set_reg<T>(op->dst, r);
  cpu.flags.set_add<T>(a, b, r);
  CLOISTER_NEXT(cpu, op);
}

template <class T, bool locked>
[[gnu::noinline]] Maybe xadd_at(Cpu& cpu, const Op* op, u64 linear, T b) {
  T a{};
  const bool ok = update<locked>(cpu, op, linear, a, [b](T old) { return static_cast<T>(old + b); });
  return {a, ok};
}
template <class T, Mem kind, bool locked>
void xadd_memory(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, sizeof(T), Access::write, linear)) return;
  const T b = cpu.reg<T>(op->src);
  const Maybe old = xadd_at<T, locked>(cpu, op, linear, b);
  if (!old.ok) return;
  const T a = static_cast<T>(old.value);
  cpu.set_reg<T>(op->src, a);
  cpu.flags.set_add<T>(a, b, static_cast<T>(a + b));
  CLOISTER_NEXT(cpu, op);
}

Selected select_xadd(const Insn& insn, Op& op) {
  op.src = insn.reg(1);
  const Handler handler = by_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (insn.is_mem(0)) {
      return by_memory_rare(insn.memory, [&](auto m) -> Handler {
        return insn.lock() ? &xadd_memory<T, m.kind, true> : &xadd_memory<T, m.kind, false>;
      });
    }
    op.dst = insn.reg(0);
    return &xadd_registers<T>;
  });
  return {.handler = handler, .form = form_as_encoded(insn, true)};
}

// ------------------------------------------------------------------------------------------------ CMPXCHG

/// Flags as CMP accumulator, old; the accumulator is loaded only if they differ.
template <class T>
[[gnu::always_inline]] inline bool compare_accumulator(Cpu& cpu, T old) {
  const T a = cpu.reg<T>(arch::rax);
  cpu.flags.set_sub<T>(a, old, static_cast<T>(a - old));
  if (a == old) return true;
  cpu.set_reg<T>(arch::rax, old);
  return false;
}

template <class T>
void cmpxchg_registers(Cpu& cpu, const Op* op) {
  const T old = cpu.reg<T>(op->dst), replacement = cpu.reg<T>(op->src);
  if (compare_accumulator<T>(cpu, old)) {
    cpu.set_reg<T>(op->dst, replacement);
  } else {
    cpu.set_reg<T>(op->dst, cpu.reg<T>(op->dst));  // the destination is written in either case: 32 bits clear the rest
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T, bool locked>
[[gnu::noinline]] Maybe cmpxchg_at(Cpu& cpu, const Op* op, u64 linear) {
  const T expected = cpu.reg<T>(arch::rax), replacement = cpu.reg<T>(op->src);
  T old{};
  const bool ok = update<locked>(cpu, op, linear, old, [=](T now) { return now == expected ? replacement : now; });
  return {old, ok};
}
template <class T, Mem kind, bool locked>
void cmpxchg_memory(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, sizeof(T), Access::write, linear)) return;
  const Maybe old = cmpxchg_at<T, locked>(cpu, op, linear);
  if (!old.ok) return;
  compare_accumulator<T>(cpu, static_cast<T>(old.value));
  CLOISTER_NEXT(cpu, op);
}

Selected select_cmpxchg(const Insn& insn, Op& op) {
  op.src = insn.reg(1);
  const Handler handler = by_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (insn.is_mem(0)) {
      return by_memory_rare(insn.memory, [&](auto m) -> Handler {
        return insn.lock() ? &cmpxchg_memory<T, m.kind, true> : &cmpxchg_memory<T, m.kind, false>;
      });
    }
    op.dst = insn.reg(0);
    return &cmpxchg_registers<T>;
  });
  return {.handler = handler, .form = form_as_encoded(insn, true)};
}

// ------------------------------------------------------------------------------------------------ CMPXCHG8B, 16B

void put_zero_flag(Cpu& cpu, bool zf) {
  cpu.flags.set((cpu.flags.get() & ~arch::rflags::zf) | (zf ? arch::rflags::zf : 0));
}

/// Exchanges if equal, else loads rDX:rAX. T is half of the operand.
template <class T, class Wide>
void finish_double(Cpu& cpu, Wide old, Wide expected) {
  put_zero_flag(cpu, old == expected);
  if (old == expected) return;
  cpu.set_reg<T>(arch::rax, static_cast<T>(old));
  cpu.set_reg<T>(arch::rdx, static_cast<T>(old >> (8 * sizeof(T))));
}
template <class T, class Wide>
Wide pair(const Cpu& cpu, u8 high, u8 low) {
  return static_cast<Wide>((static_cast<Wide>(cpu.reg<T>(high)) << (8 * sizeof(T))) | cpu.reg<T>(low));
}

template <bool locked>
[[gnu::noinline]] bool cmpxchg8b_at(Cpu& cpu, const Op* op, u64 linear) {
  const u64 expected = pair<u32, u64>(cpu, arch::rdx, arch::rax);
  const u64 replacement = pair<u32, u64>(cpu, arch::rcx, arch::rbx);
  u64 old = 0;
  if (!update<locked>(cpu, op, linear, old, [=](u64 now) { return now == expected ? replacement : now; })) {
    return false;
  }
  finish_double<u32, u64>(cpu, old, expected);
  return true;
}

/// An aligned operand lies in one page; the host's CMPXCHG16B stores the old value if they differ, as the guest's does.
bool exchange16(u128* at, u128& expected, u128 replacement) {
  u64 low = static_cast<u64>(expected), high = static_cast<u64>(expected >> 64);
  bool equal;
  asm volatile("lock cmpxchg16b %[at]"
               : [at] "+m"(*at), "+a"(low), "+d"(high), "=@ccz"(equal)
               : "b"(static_cast<u64>(replacement)), "c"(static_cast<u64>(replacement >> 64))
               : "memory");
  expected = (u128{high} << 64) | low;
  return equal;
}

/// With or without LOCK: no guest can tell.
[[gnu::noinline]] bool cmpxchg16b_at(Cpu& cpu, const Op* op, u64 linear) {
  if (linear % 16 != 0) {
    raise_gp(cpu, op);
    return false;
  }
  const u128 expected = pair<u64, u128>(cpu, arch::rdx, arch::rax);
  const u128 replacement = pair<u64, u128>(cpu, arch::rcx, arch::rbx);
  u128 old = expected;
  bool plainly = false;
  void* const host = host_for_atomic(cpu, op, linear, 16, plainly);
  if (host != nullptr) {
    exchange16(static_cast<u128*>(host), old, replacement);
  } else {
    if (!plainly || !load_for_store<u128>(cpu, op, linear, old)) return false;
    if (!store<u128>(cpu, op, linear, old == expected ? replacement : old)) return false;
  }
  finish_double<u64, u128>(cpu, old, expected);
  return true;
}

template <Mem kind, bool locked>
void cmpxchg8b(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, 8, Access::write, linear)) return;
  if (!cmpxchg8b_at<locked>(cpu, op, linear)) return;
  CLOISTER_NEXT(cpu, op);
}
template <Mem kind>
void cmpxchg16b(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, 16, Access::write, linear)) return;
  if (!cmpxchg16b_at(cpu, op, linear)) return;
  CLOISTER_NEXT(cpu, op);
}

Selected select_cmpxchg8b(const Insn& insn, Op&) {
  return {by_memory_rare(insn.memory, [&](auto m) -> Handler {
    return insn.lock() ? &cmpxchg8b<m.kind, true> : &cmpxchg8b<m.kind, false>;
  })};
}
Selected select_cmpxchg16b(const Insn& insn, Op&) {
  return {by_memory_rare(insn.memory, [](auto m) -> Handler { return &cmpxchg16b<m.kind>; })};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_XADD, &select_xadd},
    {ZYDIS_MNEMONIC_CMPXCHG, &select_cmpxchg},
    {ZYDIS_MNEMONIC_CMPXCHG8B, &select_cmpxchg8b},
    {ZYDIS_MNEMONIC_CMPXCHG16B, &select_cmpxchg16b},
};

}  // namespace

std::span<const Row> atomic_rows() { return rows; }

}  // namespace cloister::silicon
