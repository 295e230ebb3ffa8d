// The shape that most SSE instructions have: dst = f(dst, src [, imm]), src a register or memory.
//
// A function is a type with apply(a, b) or apply(a, b, imm), made from the host's own instruction, and traits: how many
// bytes of memory the source has, its alignment, and which exceptions it can raise.
#pragma once

#include <utility>

#include "silicon/isa/vector/sse_exception.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {

template <unsigned source_bytes, Align source_align, Lanes result, bool is_hot = false,
          Arithmetic computes = Arithmetic::none>
struct VectorTraits {
  static constexpr unsigned bytes = source_bytes;
  static constexpr Align align = source_align;
  static constexpr Lanes lanes = result;
  static constexpr Arithmetic arithmetic = computes;
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

/// After a floating-point operation: true if its result must not be stored.
template <class F>
[[gnu::always_inline]] inline bool vector_exception(Cpu& cpu, const Op* op, __m128i a, __m128i b) {
  if constexpr (F::lanes == Lanes::integer) {
    return false;
  } else {
    if (!cpu.fpu.sse_unmasked) [[likely]]
      return false;
    if constexpr (requires { F::exception(cpu, op, a, b); }) {
      return F::exception(cpu, op, a, b);
    } else if constexpr (F::lanes == Lanes::exact) {
      return sse_exception(cpu, op);
    } else {
      static_assert(F::arithmetic != Arithmetic::none);
      return sse_arithmetic_exception(cpu, op, F::lanes, F::arithmetic, a, b);
    }
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
    const __m128i a = get_xmm(cpu, op->dst), r = vector_apply<F>(cpu, op, a, b);
    if (vector_exception<F>(cpu, op, a, b)) return;
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
    return with_form(insn, &vector_op<F, From::reg>);
  }
  if (!insn.is_mem(1)) return {};
  return with_form(insn, vector_memory_handler<F>(insn, op), F::bytes);
}

}  // namespace cloister::silicon
