// Packed integer instructions of XMM registers alone (SDM vol. 1, 11.4.2, 12.8 to 12.10).
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

template <unsigned bytes>
using Part = VectorTraits<bytes, Align::none, Lanes::integer>;

#define CLOISTER_PACKED(X)                   \
  X(PUNPCKLQDQ, "punpcklqdq", HotInteger)    \
  X(PUNPCKHQDQ, "punpckhqdq", HotInteger)    \
  X(PMULDQ, "pmuldq", PackedInteger)         \
  X(PMULLD, "pmulld", PackedInteger)         \
  X(PMINSB, "pminsb", PackedInteger)         \
  X(PMINUW, "pminuw", PackedInteger)         \
  X(PMINUD, "pminud", PackedInteger)         \
  X(PMINSD, "pminsd", PackedInteger)         \
  X(PMAXSB, "pmaxsb", PackedInteger)         \
  X(PMAXUW, "pmaxuw", PackedInteger)         \
  X(PMAXUD, "pmaxud", PackedInteger)         \
  X(PMAXSD, "pmaxsd", PackedInteger)         \
  X(PACKUSDW, "packusdw", PackedInteger)     \
  X(PCMPEQQ, "pcmpeqq", PackedInteger)       \
  X(PCMPGTQ, "pcmpgtq", PackedInteger)       \
  X(PHMINPOSUW, "phminposuw", PackedInteger) \
  X(PMOVSXBW, "pmovsxbw", Part<8>)           \
  X(PMOVSXBD, "pmovsxbd", Part<4>)           \
  X(PMOVSXBQ, "pmovsxbq", Part<2>)           \
  X(PMOVSXWD, "pmovsxwd", Part<8>)           \
  X(PMOVSXWQ, "pmovsxwq", Part<4>)           \
  X(PMOVSXDQ, "pmovsxdq", Part<8>)           \
  X(PMOVZXBW, "pmovzxbw", Part<8>)           \
  X(PMOVZXBD, "pmovzxbd", Part<4>)           \
  X(PMOVZXBQ, "pmovzxbq", Part<2>)           \
  X(PMOVZXWD, "pmovzxwd", Part<8>)           \
  X(PMOVZXWQ, "pmovzxwq", Part<4>)           \
  X(PMOVZXDQ, "pmovzxdq", Part<8>)           \
  X(MOVDDUP, "movddup", Part<8>)             \
  X(MOVSLDUP, "movsldup", PackedInteger)     \
  X(MOVSHDUP, "movshdup", PackedInteger)

CLOISTER_PACKED(CLOISTER_VECTOR_OP)

// Blends whose mask is XMM0.
#define CLOISTER_BLENDV_OP(Name, text)                                 \
  struct Name : PackedInteger {                                        \
    static __m128i apply(__m128i a, __m128i b, __m128i mask) {         \
      asm volatile(text " %2, %1, %0" : "+x"(a) : "x"(b), "Yz"(mask)); \
      return a;                                                        \
    }                                                                  \
  };
CLOISTER_BLENDV_OP(BLENDVPS, "blendvps")
CLOISTER_BLENDV_OP(BLENDVPD, "blendvpd")
CLOISTER_BLENDV_OP(PBLENDVB, "pblendvb")

template <From from>
void ptest(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    __m128i b;
    if (!vector_source<from, 16, Align::vector>(cpu, op, b)) return;
    bool z, c;
    asm("ptest %3, %2" : "=@ccz"(z), "=@ccc"(c) : "x"(get_xmm(cpu, op->dst)), "x"(b));
    cpu.flags.set((z ? arch::rflags::zf : 0) | (c ? arch::rflags::cf : 0));
  }
  CLOISTER_NEXT(cpu, op);
}

Selected select_ptest(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return with_form(insn, &ptest<From::memory>, 16);
  }
  op.src = insn.reg(1);
  return with_form(insn, &ptest<From::reg>);
}

#define CLOISTER_ROW(Name, ...) {ZYDIS_MNEMONIC_##Name, select_vector<Name>},
constexpr Row rows[] = {
    CLOISTER_PACKED(CLOISTER_ROW){ZYDIS_MNEMONIC_BLENDVPS, select_vector<BLENDVPS>},
    {ZYDIS_MNEMONIC_BLENDVPD, select_vector<BLENDVPD>},
    {ZYDIS_MNEMONIC_PBLENDVB, select_vector<PBLENDVB>},
    {ZYDIS_MNEMONIC_PTEST, select_ptest},
};

}  // namespace

std::span<const Row> sse_packed_rows() { return rows; }

}  // namespace cloister::silicon
