// Operand shapes: how a handler gets its operands and puts its result, apart from what it computes.
//
// A handler with a memory operand is written once, over a Path. Path Hot only looks into the TLB; if that misses, the
// handler starts again on path Cold, which goes through access.hpp. So the hot code has no call that returns, no stack
// frame and no local whose address is known outside, and its last call is a jump.
//
// An operation O over (a, b) is a type with
//   static T value(const LazyFlags&, T a, T b)            the result
//   static void flags(LazyFlags&, T a, T b, T r)          the status flags that it leaves
//   static constexpr bool reads                           false: a is not read (MOV)
//   static constexpr bool writes                          false: r is not written (CMP, TEST)
#pragma once

#include "silicon/isa/insn.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

template <class T>
[[gnu::noinline]] Maybe load_cold(Cpu& cpu, const Op* op, u64 linear) {
  T v{};
  const bool ok = load<T>(cpu, op, linear, v);
  return {v, ok};
}
template <class T>
[[gnu::noinline]] Maybe load_for_store_cold(Cpu& cpu, const Op* op, u64 linear) {
  T v{};
  const bool ok = load_for_store<T>(cpu, op, linear, v);
  return {v, ok};
}
template <class T>
[[gnu::noinline]] bool store_cold(Cpu& cpu, const Op* op, u64 linear, T value) {
  return store<T>(cpu, op, linear, value);
}
[[gnu::noinline]] inline Maybe linear_cold(Cpu& cpu, const Op* op, unsigned bytes, Access access) {
  u64 linear = 0;
  const bool ok = linear_any(cpu, op, bytes, access, linear);
  return {linear, ok};
}

/// The linear address of op's memory operand; as linear_of(), with no local's address escaping.
template <Mem kind>
[[gnu::always_inline]] inline bool address(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  if constexpr (kind == Mem::any) {
    const Maybe m = linear_cold(cpu, op, bytes, access);
    linear = m.value;
    return m.ok;
  } else {
    return linear_of<kind>(cpu, op, bytes, access, linear);
  }
}

template <class Shape>
void run_cold(Cpu& cpu, const Op* op);

struct Hot {
  template <class T>
  [[gnu::always_inline]] static bool load(Cpu& cpu, const Op*, u64 linear, T& out) {
    const TlbEntry& e = cpu.tlb.at(linear);
    if (e.tag_read != tlb_tag(linear, sizeof(T), cpu.context)) [[unlikely]]
      return false;
    copy_guest(&out, reinterpret_cast<const void*>(e.addend + linear), sizeof(T));
    return true;
  }
  template <class T>
  [[gnu::always_inline]] static bool load_for_store(Cpu& cpu, const Op*, u64 linear, T& out) {
    const TlbEntry& e = cpu.tlb.at(linear);
    if (e.tag_write != tlb_tag(linear, sizeof(T), cpu.context)) [[unlikely]]
      return false;
    copy_guest(&out, reinterpret_cast<const void*>(e.addend + linear), sizeof(T));
    return true;
  }
  template <class T>
  [[gnu::always_inline]] static bool store(Cpu& cpu, const Op*, u64 linear, T value) {
    const TlbEntry& e = cpu.tlb.at(linear);
    if (e.tag_write != tlb_tag(linear, sizeof(T), cpu.context)) [[unlikely]]
      return false;
    copy_guest(reinterpret_cast<void*>(e.addend + linear), &value, sizeof(T));
    return true;
  }
  /// What a handler does when an access said false.
  template <class Shape>
  [[gnu::always_inline]] static void failed(Cpu& cpu, const Op* op) {
    run_cold<Shape>(cpu, op);
  }
};

struct Cold {
  template <class T>
  [[gnu::always_inline]] static bool load(Cpu& cpu, const Op* op, u64 linear, T& out) {
    const Maybe m = load_cold<T>(cpu, op, linear);
    out = static_cast<T>(m.value);
    return m.ok;
  }
  template <class T>
  [[gnu::always_inline]] static bool load_for_store(Cpu& cpu, const Op* op, u64 linear, T& out) {
    const Maybe m = load_for_store_cold<T>(cpu, op, linear);
    out = static_cast<T>(m.value);
    return m.ok;
  }
  template <class T>
  [[gnu::always_inline]] static bool store(Cpu& cpu, const Op* op, u64 linear, T value) {
    return store_cold<T>(cpu, op, linear, value);
  }
  template <class Shape>
  [[gnu::always_inline]] static void failed(Cpu&, const Op*) {}
};

template <class Shape>
[[gnu::noinline]] void run_cold(Cpu& cpu, const Op* op) {
  Shape::template run<Cold>(cpu, op);
}
template <class Shape>
void run_hot(Cpu& cpu, const Op* op) {
  Shape::template run<Hot>(cpu, op);
}

/// The handler of a shape for operands that are worth the inline TLB check, or not.
template <class Shape>
inline constexpr Handler hot = &run_hot<Shape>;
template <class Shape>
inline constexpr Handler cold = &run_cold<Shape>;

// ------------------------------------------------------------------------------------------------ shapes of (a, b)

/// The second operand: a register, the immediate, or CL.
enum class From : u8 { reg, imm, cl };

template <From from, class T>
[[gnu::always_inline]] inline T second(const Cpu& cpu, const Op* op) {
  if constexpr (from == From::reg) {
    return cpu.reg<T>(op->src);
  } else if constexpr (from == From::imm) {
    return static_cast<T>(op->imm);
  } else {
    return static_cast<T>(cpu.gpr[arch::rcx] & 0xff);
  }
}

/// reg = O(reg, second)
template <class O, class T, From from>
void register_form(Cpu& cpu, const Op* op) {
  const T a = O::reads ? cpu.reg<T>(op->dst) : T{};
  const T b = second<from, T>(cpu, op);
  const T r = O::template value<T>(cpu.flags, a, b);
  O::template flags<T>(cpu.flags, a, b, r);
  if constexpr (O::writes) cpu.set_reg<T>(op->dst, r);
  CLOISTER_NEXT(cpu, op);
}

/// reg = O(reg, mem)
template <class O, class T, Mem kind>
struct LoadForm {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::read, linear)) return;
    T b;
    if (!Path::template load<T>(cpu, op, linear, b)) return Path::template failed<LoadForm>(cpu, op);
    const T a = O::reads ? cpu.reg<T>(op->dst) : T{};
    const T r = O::template value<T>(cpu.flags, a, b);
    O::template flags<T>(cpu.flags, a, b, r);
    if constexpr (O::writes) cpu.set_reg<T>(op->dst, r);
    CLOISTER_NEXT(cpu, op);
  }
};

/// mem = O(mem, second); only reads if O does not write, only writes if O does not read.
template <class O, class T, Mem kind, From from>
struct StoreForm {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), O::writes ? Access::write : Access::read, linear)) return;
    const T b = second<from, T>(cpu, op);
    T a{};
    if constexpr (O::reads && O::writes) {
      if (!Path::template load_for_store<T>(cpu, op, linear, a)) return Path::template failed<StoreForm>(cpu, op);
    } else if constexpr (O::reads) {
      if (!Path::template load<T>(cpu, op, linear, a)) return Path::template failed<StoreForm>(cpu, op);
    }
    const T r = O::template value<T>(cpu.flags, a, b);
    if constexpr (O::writes) {
      if (!Path::template store<T>(cpu, op, linear, r)) return Path::template failed<StoreForm>(cpu, op);
    }
    O::template flags<T>(cpu.flags, a, b, r);
    CLOISTER_NEXT(cpu, op);
  }
};

/// LOCK: mem = O(mem, second), atomically. The value before it.
template <class O, class T>
[[gnu::noinline]] Maybe update_locked(Cpu& cpu, const Op* op, u64 linear, T b) {
  T a{};
  const LazyFlags flags = cpu.flags;
  const bool ok = atomic_update<T>(cpu, op, linear, a, [&](T old) { return O::template value<T>(flags, old, b); });
  return {a, ok};
}

template <class O, class T, Mem kind, From from>
void locked_form(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, sizeof(T), Access::write, linear)) return;
  const T b = second<from, T>(cpu, op);
  const Maybe m = update_locked<O, T>(cpu, op, linear, b);
  if (!m.ok) return;
  const T a = static_cast<T>(m.value);
  O::template flags<T>(cpu.flags, a, b, O::template value<T>(cpu.flags, a, b));
  CLOISTER_NEXT(cpu, op);
}

// ------------------------------------------------------------------------------------------------ shapes of one source

/// Body::apply<T>(cpu, op, v) does the rest with the source's value v; false: it raised an exception.
template <class Body, class T>
void source_register(Cpu& cpu, const Op* op) {
  if (!Body::template apply<T>(cpu, op, cpu.reg<T>(op->src))) return;
  CLOISTER_NEXT(cpu, op);
}
template <class Body, class T, Mem kind>
struct SourceMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::read, linear)) return;
    T v;
    if (!Path::template load<T>(cpu, op, linear, v)) return Path::template failed<SourceMemory>(cpu, op);
    if (!Body::template apply<T>(cpu, op, v)) return;
    CLOISTER_NEXT(cpu, op);
  }
};

// ------------------------------------------------------------------------------------------------ selection

template <Mem k>
struct MemIs {
  static constexpr Mem kind = k;
};

/// f(T{}) for the operand size.
template <class F>
Handler by_size(unsigned bits, F f) {
  switch (bits) {
    case 8: return f(u8{});
    case 16: return f(u16{});
    case 32: return f(u32{});
    case 64: return f(u64{});
    default: return nullptr;
  }
}
/// As by_size() for instructions without a byte form.
template <class F>
Handler by_wide_size(unsigned bits, F f) {
  switch (bits) {
    case 16: return f(u16{});
    case 32: return f(u32{});
    case 64: return f(u64{});
    default: return nullptr;
  }
}
/// As by_size() for 32 and 64 bits alone.
template <class F>
Handler by_long_size(unsigned bits, F f) {
  switch (bits) {
    case 32: return f(u32{});
    case 64: return f(u64{});
    default: return nullptr;
  }
}
/// f(MemIs<kind>{}) for how the address is computed.
template <class F>
Handler by_memory(Mem kind, F f) {
  switch (kind) {
    case Mem::flat: return f(MemIs<Mem::flat>{});
    case Mem::full: return f(MemIs<Mem::full>{});
    case Mem::any: return f(MemIs<Mem::any>{});
  }
  return nullptr;
}
/// As by_memory() where speed matters less: flat addresses are full ones, too.
template <class F>
Handler by_memory_rare(Mem kind, F f) {
  return kind == Mem::any ? f(MemIs<Mem::any>{}) : f(MemIs<Mem::full>{});
}

template <class Shape, Mem kind>
constexpr Handler hot_unless_any() {
  if constexpr (kind == Mem::any) {
    return cold<Shape>;
  } else {
    return hot<Shape>;
  }
}

/// The whole of an instruction `O op1, op2` with op1 register or memory, op2 register, memory or immediate.
template <class O>
Selected select_binary(const Insn& insn, Op& op) {
  Selected s;
  s.handler = by_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (insn.is_mem(0)) {
      const bool reg = insn.is_reg(1);
      if (reg) {
        op.src = insn.reg(1);
      } else {
        op.imm = insn.imm(1);
      }
      if constexpr (O::reads && O::writes) {
        if (insn.lock()) {
          return by_memory_rare(insn.memory, [&](auto m) -> Handler {
            return reg ? &locked_form<O, T, m.kind, From::reg> : &locked_form<O, T, m.kind, From::imm>;
          });
        }
      }
      return by_memory(insn.memory, [&](auto m) -> Handler {
        return reg ? hot_unless_any<StoreForm<O, T, m.kind, From::reg>, m.kind>()
                   : hot_unless_any<StoreForm<O, T, m.kind, From::imm>, m.kind>();
      });
    }
    op.dst = insn.reg(0);
    if (insn.is_mem(1)) {
      return by_memory(insn.memory, [](auto m) -> Handler { return hot_unless_any<LoadForm<O, T, m.kind>, m.kind>(); });
    }
    if (insn.is_reg(1)) {
      op.src = insn.reg(1);
      return &register_form<O, T, From::reg>;
    }
    op.imm = insn.imm(1);
    return &register_form<O, T, From::imm>;
  });
  s.form = form_as_encoded(insn, O::writes);
  return s;
}

/// An instruction with one operand, register or memory: O ignores b.
template <class O>
Selected select_unary(const Insn& insn, Op& op) {
  Selected s;
  s.handler = by_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (!insn.is_mem(0)) {
      op.dst = insn.reg(0);
      return &register_form<O, T, From::imm>;
    }
    if (insn.lock()) {
      return by_memory_rare(insn.memory, [](auto m) -> Handler { return &locked_form<O, T, m.kind, From::imm>; });
    }
    return by_memory(insn.memory,
                     [](auto m) -> Handler { return hot_unless_any<StoreForm<O, T, m.kind, From::imm>, m.kind>(); });
  });
  s.form = form_as_encoded(insn, O::writes);
  return s;
}

/// The handler of Body with operand `i`, of T's size, as its source.
template <class Body, class T>
Handler source_handler(const Insn& insn, Op& op, unsigned i) {
  if (insn.is_mem(i)) {
    return by_memory_rare(insn.memory,
                          [](auto m) -> Handler { return hot_unless_any<SourceMemory<Body, T, m.kind>, m.kind>(); });
  }
  op.src = insn.reg(i);
  return &source_register<Body, T>;
}

/// A row for an instruction that always has the same handler.
template <Handler handler>
Selected always(const Insn&, Op&) {
  return {handler};
}

}  // namespace cloister::silicon
