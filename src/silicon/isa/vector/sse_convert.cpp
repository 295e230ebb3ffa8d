// SSE conversions between floating-point formats and integers (SDM vol. 1, 11.4.1.6 and 10.4.4; vol. 2, CVT…).
#include "silicon/isa/vector/mmx.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

// ---- vector to vector

#define CLOISTER_SSE_CONVERT(X)                                                                  \
  X(CVTSS2SD, "cvtss2sd", VectorTraits<4, Align::none, Lanes::exact, true>)                      \
  X(CVTSD2SS, "cvtsd2ss", VectorTraits<8, Align::none, Lanes::ss, true, Arithmetic::narrow>)     \
  X(CVTPS2PD, "cvtps2pd", VectorTraits<8, Align::none, Lanes::exact>)                            \
  X(CVTPD2PS, "cvtpd2ps", VectorTraits<16, Align::vector, Lanes::ps, false, Arithmetic::narrow>) \
  X(CVTDQ2PS, "cvtdq2ps", VectorTraits<16, Align::vector, Lanes::exact>)                         \
  X(CVTDQ2PD, "cvtdq2pd", VectorTraits<8, Align::none, Lanes::integer>)                          \
  X(CVTPS2DQ, "cvtps2dq", VectorTraits<16, Align::vector, Lanes::exact>)                         \
  X(CVTPD2DQ, "cvtpd2dq", VectorTraits<16, Align::vector, Lanes::exact>)                         \
  X(CVTTPS2DQ, "cvttps2dq", VectorTraits<16, Align::vector, Lanes::exact>)                       \
  X(CVTTPD2DQ, "cvttpd2dq", VectorTraits<16, Align::vector, Lanes::exact>)

CLOISTER_SSE_CONVERT(CLOISTER_VECTOR_OP)

// ---- general register or memory to the low element

#define CLOISTER_FROM_INTEGER(Name, text)               \
  struct Name {                                         \
    static __m128i apply(__m128i a, u32 b) {            \
      asm volatile(text "l %1, %0" : "+x"(a) : "r"(b)); \
      return a;                                         \
    }                                                   \
    static __m128i apply(__m128i a, u64 b) {            \
      asm volatile(text "q %1, %0" : "+x"(a) : "r"(b)); \
      return a;                                         \
    }                                                   \
  };
CLOISTER_FROM_INTEGER(CVTSI2SS, "cvtsi2ss")
CLOISTER_FROM_INTEGER(CVTSI2SD, "cvtsi2sd")

template <class F, class T, From from>
void from_integer(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    T b;
    if constexpr (from == From::reg) {
      b = cpu.reg<T>(op->src);
    } else if (!read_operand<from>(cpu, op, b)) {
      return;
    }
    const __m128i r = F::apply(get_xmm(cpu, op->dst), b);
    if (cpu.fpu.sse_unmasked && sse_exception(cpu, op)) return;
    set_xmm(cpu, op->dst, r);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Selected select_from_integer(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  const bool wide = insn.bits(1) == 64;
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return with_form(insn, wide ? &from_integer<F, u64, From::memory> : &from_integer<F, u32, From::memory>);
  }
  op.src = insn.reg(1);
  return with_form(insn, wide ? &from_integer<F, u64, From::reg> : &from_integer<F, u32, From::reg>);
}

// ---- the low element to a general register

#define CLOISTER_TO_INTEGER(Name, text, source_bytes)                                         \
  struct Name {                                                                               \
    static constexpr unsigned bytes = source_bytes;                                           \
    static void apply(__m128i a, u32& r) { asm volatile(text " %1, %0" : "=r"(r) : "x"(a)); } \
    static void apply(__m128i a, u64& r) { asm volatile(text " %1, %0" : "=r"(r) : "x"(a)); } \
  };
CLOISTER_TO_INTEGER(CVTSS2SI, "cvtss2si", 4)
CLOISTER_TO_INTEGER(CVTSD2SI, "cvtsd2si", 8)
CLOISTER_TO_INTEGER(CVTTSS2SI, "cvttss2si", 4)
CLOISTER_TO_INTEGER(CVTTSD2SI, "cvttsd2si", 8)

template <class F, class T, From from>
void to_integer(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    __m128i a;
    if (!vector_source<from, F::bytes, Align::none>(cpu, op, a)) return;
    T r;
    F::apply(a, r);
    if (cpu.fpu.sse_unmasked && sse_exception(cpu, op)) return;
    cpu.set_reg<T>(op->dst, r);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Selected select_to_integer(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  const bool wide = insn.bits(0) == 64;
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return with_form(insn, wide ? &to_integer<F, u64, From::memory> : &to_integer<F, u32, From::memory>, F::bytes);
  }
  op.src = insn.reg(1);
  return with_form(insn, wide ? &to_integer<F, u64, From::reg> : &to_integer<F, u32, From::reg>);
}

// ---- MMX registers: two doublewords, converted in the low half of a vector

#define CLOISTER_MMX_CONVERT(Name, text, source_bytes, source_align)     \
  struct Name : VectorTraits<source_bytes, source_align, Lanes::exact> { \
    static __m128i apply(__m128i a) {                                    \
      __m128i r;                                                         \
      asm volatile(text " %1, %0" : "=x"(r) : "x"(a));                   \
      return r;                                                          \
    }                                                                    \
  };
CLOISTER_MMX_CONVERT(CVTPI2PS, "cvtdq2ps", 8, Align::none)
CLOISTER_MMX_CONVERT(CVTPI2PD, "cvtdq2pd", 8, Align::none)
CLOISTER_MMX_CONVERT(CVTPS2PI, "cvtps2dq", 8, Align::none)
CLOISTER_MMX_CONVERT(CVTTPS2PI, "cvttps2dq", 8, Align::none)
CLOISTER_MMX_CONVERT(CVTPD2PI, "cvtpd2dq", 16, Align::vector)
CLOISTER_MMX_CONVERT(CVTTPD2PI, "cvttpd2dq", 16, Align::vector)

/// CVTPI2PS replaces the low half only.
void set_converted(Cpu& cpu, u8 r, __m128i value, CVTPI2PS) {
  set_xmm(cpu, r, _mm_unpacklo_epi64(value, _mm_unpackhi_epi64(get_xmm(cpu, r), get_xmm(cpu, r))));
}
void set_converted(Cpu& cpu, u8 r, __m128i value, CVTPI2PD) { set_xmm(cpu, r, value); }

/// With a source in memory, CVTPI2PD does not touch the MMX state (SDM vol. 2, CVTPI2PD).
template <class F, From from>
void from_mmx(Cpu& cpu, const Op* op) {
  constexpr bool uses_mmx = from == From::reg || std::is_same_v<F, CVTPI2PS>;
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (uses_mmx && !mmx_ready(cpu, op)) return;
  {
    u64 b;
    if constexpr (from == From::reg) {
      b = get_mm(cpu, op->src);
    } else if (!read_operand<from>(cpu, op, b)) {
      return;
    }
    const __m128i r = F::apply(to_vector(b));
    if (uses_mmx) mmx_enter(cpu);  // with an exception too
    if (cpu.fpu.sse_unmasked && sse_exception(cpu, op)) return;
    set_converted(cpu, op->dst, r, F{});
  }
  CLOISTER_NEXT(cpu, op);
}

template <class F, From from>
void to_mmx(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (!mmx_ready(cpu, op)) return;
  {
    __m128i b;
    if (!vector_source<from, F::bytes, F::align>(cpu, op, b)) return;
    const __m128i r = F::apply(F::bytes == 8 ? _mm_move_epi64(b) : b);
    mmx_enter(cpu);  // with an exception too
    if (cpu.fpu.sse_unmasked && sse_exception(cpu, op)) return;
    set_mm(cpu, op->dst, from_vector<u64>(r));
  }
  CLOISTER_NEXT(cpu, op);
}

template <Handler from_register, Handler from_memory>
Selected select_mmx(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return {from_memory};
  }
  op.src = insn.reg(1);
  return {from_register};
}

#define CLOISTER_ROW(Name, text, ...) {ZYDIS_MNEMONIC_##Name, select_vector<Name>},
#define CLOISTER_MMX_ROW(Name, shape) \
  { ZYDIS_MNEMONIC_##Name, select_mmx<&shape<Name, From::reg>, &shape<Name, From::memory>> }

constexpr Row rows[] = {
    CLOISTER_SSE_CONVERT(CLOISTER_ROW){ZYDIS_MNEMONIC_CVTSI2SS, select_from_integer<CVTSI2SS>},
    {ZYDIS_MNEMONIC_CVTSI2SD, select_from_integer<CVTSI2SD>},
    {ZYDIS_MNEMONIC_CVTSS2SI, select_to_integer<CVTSS2SI>},
    {ZYDIS_MNEMONIC_CVTSD2SI, select_to_integer<CVTSD2SI>},
    {ZYDIS_MNEMONIC_CVTTSS2SI, select_to_integer<CVTTSS2SI>},
    {ZYDIS_MNEMONIC_CVTTSD2SI, select_to_integer<CVTTSD2SI>},
    CLOISTER_MMX_ROW(CVTPI2PS, from_mmx),
    CLOISTER_MMX_ROW(CVTPI2PD, from_mmx),
    CLOISTER_MMX_ROW(CVTPS2PI, to_mmx),
    CLOISTER_MMX_ROW(CVTTPS2PI, to_mmx),
    CLOISTER_MMX_ROW(CVTPD2PI, to_mmx),
    CLOISTER_MMX_ROW(CVTTPD2PI, to_mmx),
};

}  // namespace

std::span<const Row> sse_convert_rows() { return rows; }

}  // namespace cloister::silicon
