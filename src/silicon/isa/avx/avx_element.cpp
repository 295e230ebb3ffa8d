// VEX-encoded moves of single elements between vectors, general registers and memory, and masks of signs (SDM vol. 2,
// PINSRB, PEXTRB, MOVD, MOVMSKPS, …); conversion to 16-bit floating point, whose result may go to memory.
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_fused.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

template <class T>
struct Element {
  static constexpr unsigned count = 16 / sizeof(T);
  /// Number `immediate` of the second source.
  static void extract(AvxValues& v) {
    T x;
    std::memcpy(&x, v.second.low.byte.data() + sizeof(T) * (v.immediate % count), sizeof x);
    v.number = x;
  }
  static void insert(AvxValues& v) {
    const T x = static_cast<T>(v.number);
    v.result = v.first;
    std::memcpy(v.result.low.byte.data() + sizeof(T) * (v.immediate % count), &x, sizeof x);
  }
};

/// The lowest element, and zeros above.
template <class T>
void lowest(AvxValues& v) {
  v.result = {};
  std::memcpy(v.result.low.byte.data(), v.second.low.byte.data(), sizeof(T));
}
template <class T>
void lowest_number(AvxValues& v) {
  T x;
  std::memcpy(&x, v.second.low.byte.data(), sizeof x);
  v.number = x;
}

#define CLOISTER_AVX_MASK(Name, text)                                                                              \
  struct Name {                                                                                                    \
    CLOISTER_AVX_FUNCTION(narrow, CLOISTER_AVX_SECOND(x) text " %%xmm2, %%eax\n\tmov %%rax, 128(%[v])")            \
    CLOISTER_AVX_FUNCTION(wide,                                                                                    \
                          CLOISTER_AVX_SECOND(y) text " %%ymm2, %%eax\n\tmov %%rax, 128(%[v])" CLOISTER_AVX_END_y) \
  };
CLOISTER_AVX_MASK(VMOVMSKPS, "vmovmskps")
CLOISTER_AVX_MASK(VMOVMSKPD, "vmovmskpd")
CLOISTER_AVX_MASK(VPMOVMSKB, "vpmovmskb")

// ---- to 16 bits: bits 1:0 of the immediate are the rounding mode, bit 2 takes MXCSR's instead
#define CLOISTER_AVX_TO_HALVES(w, text, count) \
  CLOISTER_AVX_SECOND(w) CLOISTER_AVX_CHOOSE(text, count, "%%" #w "mm2, %%xmm0")
CLOISTER_AVX_IMM_OP(VCVTPS2PH, CLOISTER_AVX_TO_HALVES, "vcvtps2ph", 8)

constexpr auto vector = AvxResult::vector, number = AvxResult::number;
constexpr AvxRow rows[] = {
    {.mnemonic = ZYDIS_MNEMONIC_VPEXTRB, .narrow = Element<u8>::extract, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VPEXTRW, .narrow = Element<u16>::extract, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VPEXTRD, .narrow = Element<u32>::extract, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VPEXTRQ, .narrow = Element<u64>::extract, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VEXTRACTPS, .narrow = Element<u32>::extract, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VPINSRB, .narrow = Element<u8>::insert},
    {.mnemonic = ZYDIS_MNEMONIC_VPINSRW, .narrow = Element<u16>::insert},
    {.mnemonic = ZYDIS_MNEMONIC_VPINSRD, .narrow = Element<u32>::insert},
    {.mnemonic = ZYDIS_MNEMONIC_VPINSRQ, .narrow = Element<u64>::insert},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVD, .narrow = lowest_number<u32>, .result = number, .form = AvxForm::to_number},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVD, .narrow = lowest<u32>, .result = vector},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVQ, .narrow = lowest_number<u64>, .result = number, .form = AvxForm::to_number},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVQ, .narrow = lowest<u64>, .result = vector},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVMSKPS, .narrow = VMOVMSKPS::narrow, .wide = VMOVMSKPS::wide, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVMSKPD, .narrow = VMOVMSKPD::narrow, .wide = VMOVMSKPD::wide, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VPMOVMSKB, .narrow = VPMOVMSKB::narrow, .wide = VPMOVMSKB::wide, .result = number},
    {.mnemonic = ZYDIS_MNEMONIC_VCVTPS2PH,
     .narrow = VCVTPS2PH::narrow,
     .wide = VCVTPS2PH::wide,
     .lanes = Lanes::ps,
     .exception = &half_exception},
};

}  // namespace

std::span<const AvxRow> avx_element_rows() { return rows; }

}  // namespace cloister::silicon
