// VEX-encoded instructions whose immediate the host must have as a constant: shuffles, blends, permutations,
// comparisons, rounding, dot products, carry-less products (SDM vol. 2, SHUFPS, VPERMQ, CMPPD, ROUNDPS, DPPS, …).
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"
#include "silicon/isa/vector/dot_product.hpp"

namespace cloister::silicon {
namespace {

// Of the second source alone an XMM register counts.
#define CLOISTER_AVX_INSERT_IMM(w, text, count) \
  CLOISTER_AVX_FIRST(w) CLOISTER_AVX_SECOND(x) CLOISTER_AVX_CHOOSE(text, count, "%%xmm2, %%" #w "mm1, %%" #w "mm0")
// The result is an XMM register's.
#define CLOISTER_AVX_EXTRACT_IMM(w, text, count) \
  CLOISTER_AVX_SECOND(w) CLOISTER_AVX_CHOOSE(text, count, "%%" #w "mm2, %%xmm0")

// How many values of the immediate differ; for those of integers.
#define CLOISTER_AVX_IMMEDIATES(X)                                 \
  X(IMM_OP, VBLENDPD, THREE, "vblendpd", 16)                       \
  X(IMM_OP, VBLENDPS, THREE, "vblendps", 256)                      \
  X(IMM_OP, VPBLENDD, THREE, "vpblendd", 256)                      \
  X(IMM_OP, VPBLENDW, THREE, "vpblendw", 256)                      \
  X(IMM_OP, VMPSADBW, THREE, "vmpsadbw", 64)                       \
  X(IMM_OP, VPALIGNR, THREE, "vpalignr", 256)                      \
  X(IMM_OP, VPCLMULQDQ, THREE, "vpclmulqdq", 32)                   \
  X(IMM_OP, VSHUFPD, THREE, "vshufpd", 16)                         \
  X(IMM_OP, VSHUFPS, THREE, "vshufps", 256)                        \
  X(IMM_OP, VPSHUFD, TWO, "vpshufd", 256)                          \
  X(IMM_OP, VPSHUFHW, TWO, "vpshufhw", 256)                        \
  X(IMM_OP, VPSHUFLW, TWO, "vpshuflw", 256)                        \
  X(IMM_OP, VPSLLDQ, TWO, "vpslldq", 256)                          \
  X(IMM_OP, VPSRLDQ, TWO, "vpsrldq", 256)                          \
  X(NARROW_IMM_OP, VAESKEYGENASSIST, TWO, "vaeskeygenassist", 256) \
  X(WIDE_IMM_OP, VPERM2F128, THREE, "vperm2f128", 256)             \
  X(WIDE_IMM_OP, VPERM2I128, THREE, "vperm2i128", 256)             \
  X(WIDE_IMM_OP, VPERMPD, TWO, "vpermpd", 256)                     \
  X(WIDE_IMM_OP, VPERMQ, TWO, "vpermq", 256)                       \
  X(WIDE_IMM_OP, VINSERTF128, INSERT, "vinsertf128", 2)            \
  X(WIDE_IMM_OP, VINSERTI128, INSERT, "vinserti128", 2)            \
  X(WIDE_IMM_OP, VEXTRACTF128, EXTRACT, "vextractf128", 2)         \
  X(WIDE_IMM_OP, VEXTRACTI128, EXTRACT, "vextracti128", 2)

#define CLOISTER_AVX_FLOAT_IMMEDIATES(X)            \
  X(IMM_OP, VCMPPD, THREE, "vcmppd", 32)            \
  X(IMM_OP, VCMPPS, THREE, "vcmpps", 32)            \
  X(NARROW_IMM_OP, VCMPSD, THREE, "vcmpsd", 32)     \
  X(NARROW_IMM_OP, VCMPSS, THREE, "vcmpss", 32)     \
  X(IMM_OP, VROUNDPD, TWO, "vroundpd", 16)          \
  X(IMM_OP, VROUNDPS, TWO, "vroundps", 16)          \
  X(NARROW_IMM_OP, VROUNDSD, THREE, "vroundsd", 16) \
  X(NARROW_IMM_OP, VROUNDSS, THREE, "vroundss", 16)

#define CLOISTER_AVX_IMMEDIATE_FUNCTIONS(kind, Name, shape, text, count) \
  CLOISTER_AVX_##kind(Name, CLOISTER_AVX_##shape##_IMM, text, count)
CLOISTER_AVX_IMMEDIATES(CLOISTER_AVX_IMMEDIATE_FUNCTIONS)
CLOISTER_AVX_FLOAT_IMMEDIATES(CLOISTER_AVX_IMMEDIATE_FUNCTIONS)
CLOISTER_AVX_NARROW_IMM_OP(VINSERTPS, CLOISTER_AVX_THREE_IMM, "vinsertps", 256)
CLOISTER_AVX_NARROW_IMM_OP(VDPPD, CLOISTER_AVX_THREE_IMM, "vdppd", 256)
CLOISTER_AVX_IMM_OP(VDPPS, CLOISTER_AVX_THREE_IMM, "vdpps", 256)
CLOISTER_AVX_IMM_OP(VPERMILPD, CLOISTER_AVX_TWO_IMM, "vpermilpd", 16)
CLOISTER_AVX_IMM_OP(VPERMILPS, CLOISTER_AVX_TWO_IMM, "vpermilps", 256)
namespace by_register {
CLOISTER_AVX_OP(VPERMILPD, CLOISTER_AVX_THREE, "vpermilpd")
CLOISTER_AVX_OP(VPERMILPS, CLOISTER_AVX_THREE, "vpermilps")
}  // namespace by_register

/// The element in memory is the one that is inserted, whatever bits 7:6 say.
void insert_from_memory(AvxValues& v) {
  v.immediate &= 0x3f;
  VINSERTPS::narrow(v);
}

template <bool (*half)(Cpu&, const Op*, __m128i, __m128i)>
bool dot_exception(Cpu& cpu, const Op* op, const AvxValues& v, bool wide) {
  take_sse_flags(cpu);
  const auto vector = [](const Xmm& x) { return _mm_load_si128(reinterpret_cast<const __m128i*>(x.byte.data())); };
  return half(cpu, op, vector(v.first.low), vector(v.second.low)) ||
         (wide && half(cpu, op, vector(v.first.high), vector(v.second.high)));
}

#define CLOISTER_ROW(kind, Name, ...) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide},
#define CLOISTER_FLOAT_ROW(kind, Name, ...) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide, Lanes::exact},
constexpr AvxRow rows[] = {
    CLOISTER_AVX_IMMEDIATES(CLOISTER_ROW) CLOISTER_AVX_FLOAT_IMMEDIATES(CLOISTER_FLOAT_ROW){
        .mnemonic = ZYDIS_MNEMONIC_VINSERTPS, .narrow = insert_from_memory, .form = AvxForm::from_memory},
    {.mnemonic = ZYDIS_MNEMONIC_VINSERTPS, .narrow = VINSERTPS::narrow},
    {.mnemonic = ZYDIS_MNEMONIC_VDPPD,
     .narrow = VDPPD::narrow,
     .lanes = Lanes::pd,
     .exception = &dot_exception<&dppd_exception>},
    {.mnemonic = ZYDIS_MNEMONIC_VDPPS,
     .narrow = VDPPS::narrow,
     .wide = VDPPS::wide,
     .lanes = Lanes::ps,
     .exception = &dot_exception<&dpps_exception>},
    {.mnemonic = ZYDIS_MNEMONIC_VPERMILPD,
     .narrow = VPERMILPD::narrow,
     .wide = VPERMILPD::wide,
     .form = AvxForm::immediate},
    {.mnemonic = ZYDIS_MNEMONIC_VPERMILPD,
     .narrow = by_register::VPERMILPD::narrow,
     .wide = by_register::VPERMILPD::wide},
    {.mnemonic = ZYDIS_MNEMONIC_VPERMILPS,
     .narrow = VPERMILPS::narrow,
     .wide = VPERMILPS::wide,
     .form = AvxForm::immediate},
    {.mnemonic = ZYDIS_MNEMONIC_VPERMILPS,
     .narrow = by_register::VPERMILPS::narrow,
     .wide = by_register::VPERMILPS::wide},
};

}  // namespace

std::span<const AvxRow> avx_immediate_rows() { return rows; }

}  // namespace cloister::silicon
