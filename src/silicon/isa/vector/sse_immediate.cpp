// Instructions whose immediate the host must have as a constant: dot products, rounding, sums of differences (SDM vol.
// 2, DPPS, ROUNDPS, MPSADBW).
#include "silicon/isa/vector/dot_product.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

// Bits 1:0 rounding mode, bit 2 take MXCSR's instead, bit 3 no precision exception.
CLOISTER_IMMEDIATE_OP(ROUNDSS, "roundss", 16, VectorTraits<4, Align::none, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDSD, "roundsd", 16, VectorTraits<8, Align::none, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDPS, "roundps", 16, VectorTraits<16, Align::vector, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDPD, "roundpd", 16, VectorTraits<16, Align::vector, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(MPSADBW, "mpsadbw", 8, PackedInteger)
CLOISTER_IMMEDIATE_OP(HostDPPS, "dpps", 256, VectorTraits<16, Align::vector, Lanes::ps>)
CLOISTER_IMMEDIATE_OP(HostDPPD, "dppd", 64, VectorTraits<16, Align::vector, Lanes::pd>)

// A dot product is a multiplication and then additions of pairs, and an unmasked exception of one step ends it (SDM
// vol. 2, DPPS). Only while an exception is unmasked are the steps done one by one, for their flags.
#define CLOISTER_STEP(name, text)                    \
  __m128i name(__m128i a, __m128i b) {               \
    asm volatile(text " %1, %0" : "+x"(a) : "x"(b)); \
    return a;                                        \
  }
CLOISTER_STEP(multiply_ps, "mulps")
CLOISTER_STEP(multiply_pd, "mulpd")
CLOISTER_STEP(add_pairs_ps, "haddps")
CLOISTER_STEP(add_pairs_pd, "haddpd")

/// Bits 7:4 of the immediate choose the elements that are multiplied; the others count as 0 * 0.
template <unsigned size>
__m128i chosen(__m128i v, u64 imm) {
  Xmm mask;
  for (unsigned byte = 0; byte < 16; ++byte) mask.byte[byte] = ((imm >> (4 + byte / size)) & 1) != 0 ? 0xff : 0;
  return _mm_and_si128(v, to_vector(mask));
}

struct DPPS : HostDPPS {
  static bool exception(Cpu& cpu, const Op* op, __m128i a, __m128i b) {
    take_sse_flags(cpu);
    return dpps_exception(cpu, op, a, b);
  }
};

struct DPPD : HostDPPD {
  static bool exception(Cpu& cpu, const Op* op, __m128i a, __m128i b) {
    take_sse_flags(cpu);
    return dppd_exception(cpu, op, a, b);
  }
};

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_ROUNDSS, select_vector<ROUNDSS>}, {ZYDIS_MNEMONIC_ROUNDSD, select_vector<ROUNDSD>},
    {ZYDIS_MNEMONIC_ROUNDPS, select_vector<ROUNDPS>}, {ZYDIS_MNEMONIC_ROUNDPD, select_vector<ROUNDPD>},
    {ZYDIS_MNEMONIC_MPSADBW, select_vector<MPSADBW>}, {ZYDIS_MNEMONIC_DPPS, select_vector<DPPS>},
    {ZYDIS_MNEMONIC_DPPD, select_vector<DPPD>},
};

}  // namespace

bool dpps_exception(Cpu& cpu, const Op* op, __m128i a, __m128i b) {
  a = chosen<4>(a, op->imm);
  b = chosen<4>(b, op->imm);
  __m128i sum = multiply_ps(a, b);
  if (sse_arithmetic_exception(cpu, op, Lanes::ps, Arithmetic::mul, a, b)) return true;
  for (unsigned step = 0; step < 2; ++step) {
    const __m128i next = add_pairs_ps(sum, sum);
    if (sse_arithmetic_exception(cpu, op, Lanes::ps, Arithmetic::add_pairs, sum, sum)) return true;
    sum = next;
  }
  return false;
}

bool dppd_exception(Cpu& cpu, const Op* op, __m128i a, __m128i b) {
  a = chosen<8>(a, op->imm);
  b = chosen<8>(b, op->imm);
  const __m128i products = multiply_pd(a, b);
  if (sse_arithmetic_exception(cpu, op, Lanes::pd, Arithmetic::mul, a, b)) return true;
  add_pairs_pd(products, products);
  return sse_arithmetic_exception(cpu, op, Lanes::pd, Arithmetic::add_pairs, products, products);
}

std::span<const Row> sse_immediate_rows() { return rows; }

}  // namespace cloister::silicon
