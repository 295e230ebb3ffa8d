// Instructions that exist for both XMM and MMX registers under one mnemonic: dst = f(dst, src).
//
// The MMX form runs the host's own MMX instruction on copies and leaves the host's x87 state empty.
#pragma once

#include "silicon/isa/vector/mmx.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {

#define CLOISTER_X87_CLOBBERS                                                                                    \
  "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", \
      "mm6", "mm7"

/// A function of vectors and of MMX values. source64: bytes of the MMX form's memory operand.
#define CLOISTER_SHARED_OP(Name, text, source64, ...)  \
  struct Name : __VA_ARGS__ {                          \
    using Raw64 = Raw<source64>;                       \
    static __m128i apply(__m128i a, __m128i b) {       \
      asm volatile(text " %1, %0" : "+x"(a) : "x"(b)); \
      return a;                                        \
    }                                                  \
    static u64 apply64(u64 a, u64 b) {                 \
      asm volatile(                                    \
          "movq %0, %%mm0\n\t"                         \
          "movq %1, %%mm1\n\t" text                    \
          " %%mm1, %%mm0\n\t"                          \
          "movq %%mm0, %0\n\t"                         \
          "emms"                                       \
          : "+r"(a)                                    \
          : "r"(b)                                     \
          : CLOISTER_X87_CLOBBERS);                    \
      return a;                                        \
    }                                                  \
  };

template <class F>
[[gnu::always_inline]] inline u64 mmx_apply(const Op* op, u64 a, u64 b) {
  if constexpr (requires { F::apply64(a, b, op->imm); }) {
    return F::apply64(a, b, op->imm);
  } else {
    return F::apply64(a, b);
  }
}

template <class F, From from>
void mmx_op(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  {
    u64 b;
    if constexpr (from == From::reg) {
      b = get_mm(cpu, op->src);
    } else {
      typename F::Raw64 raw;
      if (!read_operand<from>(cpu, op, raw)) return;
      b = raw;
    }
    set_mm(cpu, op->dst, mmx_apply<F>(op, get_mm(cpu, op->dst), b));
  }
  CLOISTER_NEXT(cpu, op);
}

/// mm, mm/m64 [, imm8], or as select_vector().
template <class F>
Selected select_shared(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() < 2) return {};
  if (!is_mmx(insn, 0)) return select_vector<F>(insn, op);
  op.dst = insn.reg(0);
  if (insn.visible() > 2) op.imm = insn.imm(2) & 0xff;
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return {&mmx_op<F, From::memory>};
  }
  if (!is_mmx(insn, 1)) return {};
  op.src = insn.reg(1);
  return {&mmx_op<F, From::reg>};
}

}  // namespace cloister::silicon
