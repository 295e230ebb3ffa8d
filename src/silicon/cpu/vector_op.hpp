// The shape that most SSE instructions have: dst = f(dst, src [, imm]), src a register or memory.
//
// A function is a type with apply(a, b) or apply(a, b, imm), made from the host's own instruction, and traits: how many
// bytes of memory the source has, its alignment, and which exceptions it can raise.
#pragma once

#include <utility>

#include "silicon/cpu/vector_access.hpp"

namespace cloister::silicon {

/// What a result can hold when an operation underflows: the lanes that a denormal is looked for in.
enum class Lanes : u8 {
  integer,  ///< no floating-point exceptions at all
  exact,    ///< floating-point exceptions, but a denormal result is no underflow
  ss,
  sd,
  ps,
  pd,
};

template <unsigned source_bytes, Align source_align, Lanes result, bool is_hot = false>
struct VectorTraits {
  static constexpr unsigned bytes = source_bytes;
  static constexpr Align align = source_align;
  static constexpr Lanes lanes = result;
  static constexpr bool hot = is_hot;
};

using PackedInteger = VectorTraits<16, Align::vector, Lanes::integer>;
using HotInteger = VectorTraits<16, Align::vector, Lanes::integer, true>;

/// A function of two vectors that is one instruction of the host.
#define CLOISTER_VECTOR_OP(Name, text, ...)            \
  struct Name : __VA_ARGS__ {                          \
    static __m128i apply(__m128i a, __m128i b) {       \
      asm volatile(text " %1, %0" : "+x"(a) : "x"(b)); \
      return a;                                        \
    }                                                  \
  };

/// A function that is one instruction of the host with an immediate of `count` meaningful values.
#define CLOISTER_IMMEDIATE_OP(Name, text, count, ...)                                             \
  struct Name : __VA_ARGS__ {                                                                     \
    template <unsigned n>                                                                         \
    static __m128i one(__m128i a, __m128i b) {                                                    \
      asm volatile(text " %2, %1, %0" : "+x"(a) : "x"(b), "i"(n));                                \
      return a;                                                                                   \
    }                                                                                             \
    template <unsigned... n>                                                                      \
    static __m128i choose(std::integer_sequence<unsigned, n...>, __m128i a, __m128i b, u64 imm) { \
      static constexpr __m128i (*table[])(__m128i, __m128i) = {&one<n>...};                       \
      return table[imm](a, b);                                                                    \
    }                                                                                             \
    static __m128i apply(__m128i a, __m128i b, u64 imm) {                                         \
      return choose(std::make_integer_sequence<unsigned, count>(), a, b, imm % (count));          \
    }                                                                                             \
  };

/// One of the lanes is denormal and not zero.
inline bool has_denormal(__m128i v, Lanes lanes) {
  const auto single = [](u64 bits) { return (bits & 0x7f80'0000) == 0 && (bits & 0x7f'ffff) != 0; };
  const auto twice = [](u64 bits) { return ((bits >> 52) & 0x7ff) == 0 && (bits << 12) != 0; };
  u64 q[2];
  std::memcpy(q, &v, sizeof q);
  switch (lanes) {
    case Lanes::ss: return single(q[0]);
    case Lanes::sd: return twice(q[0]);
    case Lanes::ps: return single(q[0]) || single(q[0] >> 32) || single(q[1]) || single(q[1] >> 32);
    case Lanes::pd: return twice(q[0]) || twice(q[1]);
    default: return false;
  }
}

/// After a floating-point operation: true if its result must not be stored.
template <Lanes lanes>
[[gnu::always_inline]] inline bool vector_exception(Cpu& cpu, const Op* op, __m128i result) {
  if constexpr (lanes == Lanes::integer) {
    return false;
  } else {
    if (!cpu.fpu.sse_unmasked) [[likely]]
      return false;
    return sse_exception(cpu, op, has_denormal(result, lanes));
  }
}

/// A function takes a and b, and may take the immediate, or XMM0, which some instructions read without naming it.
template <class F>
[[gnu::always_inline]] inline __m128i vector_apply(const Cpu& cpu, const Op* op, __m128i a, __m128i b) {
  if constexpr (requires { F::apply(a, b, op->imm); }) {
    return F::apply(a, b, op->imm);
  } else if constexpr (requires { F::apply(a, b, a); }) {
    return F::apply(a, b, get_xmm(cpu, 0));
  } else {
    return F::apply(a, b);
  }
}

template <class F, From from>
void vector_op(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    __m128i b;
    if (!vector_source<from, F::bytes, F::align>(cpu, op, b)) return;
    const __m128i r = vector_apply<F>(cpu, op, get_xmm(cpu, op->dst), b);
    if (vector_exception<F::lanes>(cpu, op, r)) return;
    set_xmm(cpu, op->dst, r);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Handler vector_memory_handler(const Insn& insn, Op& op) {
  if constexpr (F::hot) {
    return by_address(insn, []<From from>() -> Handler { return &vector_op<F, from>; });
  } else {
    note_address(insn, op);
    return &vector_op<F, From::memory>;
  }
}

/// xmm, xmm/m [, imm8]
template <class F>
Selected select_vector(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() < 2 || !is_xmm(insn, 0)) return {};
  op.dst = insn.reg(0);
  if (insn.visible() > 2) op.imm = insn.imm(2) & 0xff;
  if (is_xmm(insn, 1)) {
    op.src = insn.reg(1);
    return {&vector_op<F, From::reg>};
  }
  if (!insn.is_mem(1)) return {};
  return {vector_memory_handler<F>(insn, op)};
}

}  // namespace cloister::silicon
