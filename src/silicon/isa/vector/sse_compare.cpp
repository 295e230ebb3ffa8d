// SSE comparisons: to masks (CMPPS, …) and to RFLAGS (COMISD, …) (SDM vol. 2; predicates: table 3-1 of CMPPD).
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

// The legacy encodings have eight predicates; bits 7:3 of the immediate are ignored.
#define CLOISTER_PREDICATE(text, n)                           \
  case n:                                                     \
    asm volatile(text " $" #n ", %1, %0" : "+x"(a) : "x"(b)); \
    return a;

#define CLOISTER_SSE_COMPARE(Name, text, ...)                                   \
  struct Name : __VA_ARGS__ {                                                   \
    static __m128i apply(__m128i a, __m128i b, u64 predicate) {                 \
      switch (predicate & 7) {                                                  \
        CLOISTER_PREDICATE(text, 0)                                             \
        CLOISTER_PREDICATE(text, 1)                                             \
        CLOISTER_PREDICATE(text, 2)                                             \
        CLOISTER_PREDICATE(text, 3)                                             \
        CLOISTER_PREDICATE(text, 4)                                             \
        CLOISTER_PREDICATE(text, 5)                                             \
        CLOISTER_PREDICATE(text, 6)                                             \
        default: asm volatile(text " $7, %1, %0" : "+x"(a) : "x"(b)); return a; \
      }                                                                         \
    }                                                                           \
  };

using Scalar32 = VectorTraits<4, Align::none, Lanes::exact>;
using Scalar64 = VectorTraits<8, Align::none, Lanes::exact>;
using Packed = VectorTraits<16, Align::vector, Lanes::exact>;

CLOISTER_SSE_COMPARE(CMPSS, "cmpss", Scalar32)
CLOISTER_SSE_COMPARE(CMPSD, "cmpsd", Scalar64)
CLOISTER_SSE_COMPARE(CMPPS, "cmpps", Packed)
CLOISTER_SSE_COMPARE(CMPPD, "cmppd", Packed)

// Unordered: ZF = PF = CF = 1. OF, SF and AF become 0.
#define CLOISTER_SSE_FLAGS(Name, text, source_bytes)                                               \
  struct Name {                                                                                    \
    static constexpr unsigned bytes = source_bytes;                                                \
    static u64 apply(__m128i a, __m128i b) {                                                       \
      bool z, p, c;                                                                                \
      asm volatile(text " %4, %3" : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c) : "x"(a), "x"(b));          \
      return (z ? arch::rflags::zf : 0) | (p ? arch::rflags::pf : 0) | (c ? arch::rflags::cf : 0); \
    }                                                                                              \
  };

CLOISTER_SSE_FLAGS(UCOMISS, "ucomiss", 4)
CLOISTER_SSE_FLAGS(UCOMISD, "ucomisd", 8)
CLOISTER_SSE_FLAGS(COMISS, "comiss", 4)
CLOISTER_SSE_FLAGS(COMISD, "comisd", 8)

template <class F, From from>
void compare_flags(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    __m128i b;
    if (!vector_source<from, F::bytes, Align::none>(cpu, op, b)) return;
    const u64 flags = F::apply(get_xmm(cpu, op->dst), b);
    if (cpu.fpu.sse_unmasked && sse_exception(cpu, op)) return;
    cpu.flags.set(flags);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Selected select_flags(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) {
    return with_form(insn, by_address(insn, []<From from>() -> Handler { return &compare_flags<F, from>; }), F::bytes);
  }
  op.src = insn.reg(1);
  return with_form(insn, &compare_flags<F, From::reg>);
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_CMPSS, select_vector<CMPSS>},    {ZYDIS_MNEMONIC_CMPSD, select_vector<CMPSD>},
    {ZYDIS_MNEMONIC_CMPPS, select_vector<CMPPS>},    {ZYDIS_MNEMONIC_CMPPD, select_vector<CMPPD>},
    {ZYDIS_MNEMONIC_UCOMISS, select_flags<UCOMISS>}, {ZYDIS_MNEMONIC_UCOMISD, select_flags<UCOMISD>},
    {ZYDIS_MNEMONIC_COMISS, select_flags<COMISS>},   {ZYDIS_MNEMONIC_COMISD, select_flags<COMISD>},
};

}  // namespace

std::span<const Row> sse_compare_rows() { return rows; }

}  // namespace cloister::silicon
