// VEX-encoded logic, integer arithmetic, comparisons, shifts and shuffles (SDM vol. 1, 14.2 and 14.7), and AES.
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_AVX_PACKED(X)  \
  X(VAESDEC, "vaesdec")         \
  X(VAESDECLAST, "vaesdeclast") \
  X(VAESENC, "vaesenc")         \
  X(VAESENCLAST, "vaesenclast") \
  X(VANDNPD, "vandnpd")         \
  X(VANDNPS, "vandnps")         \
  X(VANDPD, "vandpd")           \
  X(VANDPS, "vandps")           \
  X(VORPD, "vorpd")             \
  X(VORPS, "vorps")             \
  X(VPACKSSDW, "vpackssdw")     \
  X(VPACKSSWB, "vpacksswb")     \
  X(VPACKUSDW, "vpackusdw")     \
  X(VPACKUSWB, "vpackuswb")     \
  X(VPADDB, "vpaddb")           \
  X(VPADDD, "vpaddd")           \
  X(VPADDQ, "vpaddq")           \
  X(VPADDSB, "vpaddsb")         \
  X(VPADDSW, "vpaddsw")         \
  X(VPADDUSB, "vpaddusb")       \
  X(VPADDUSW, "vpaddusw")       \
  X(VPADDW, "vpaddw")           \
  X(VPAND, "vpand")             \
  X(VPANDN, "vpandn")           \
  X(VPAVGB, "vpavgb")           \
  X(VPAVGW, "vpavgw")           \
  X(VPCMPEQB, "vpcmpeqb")       \
  X(VPCMPEQD, "vpcmpeqd")       \
  X(VPCMPEQQ, "vpcmpeqq")       \
  X(VPCMPEQW, "vpcmpeqw")       \
  X(VPCMPGTB, "vpcmpgtb")       \
  X(VPCMPGTD, "vpcmpgtd")       \
  X(VPCMPGTQ, "vpcmpgtq")       \
  X(VPCMPGTW, "vpcmpgtw")       \
  X(VPHADDD, "vphaddd")         \
  X(VPHADDSW, "vphaddsw")       \
  X(VPHADDW, "vphaddw")         \
  X(VPHSUBD, "vphsubd")         \
  X(VPHSUBSW, "vphsubsw")       \
  X(VPHSUBW, "vphsubw")         \
  X(VPMADDUBSW, "vpmaddubsw")   \
  X(VPMADDWD, "vpmaddwd")       \
  X(VPMAXSB, "vpmaxsb")         \
  X(VPMAXSD, "vpmaxsd")         \
  X(VPMAXSW, "vpmaxsw")         \
  X(VPMAXUB, "vpmaxub")         \
  X(VPMAXUD, "vpmaxud")         \
  X(VPMAXUW, "vpmaxuw")         \
  X(VPMINSB, "vpminsb")         \
  X(VPMINSD, "vpminsd")         \
  X(VPMINSW, "vpminsw")         \
  X(VPMINUB, "vpminub")         \
  X(VPMINUD, "vpminud")         \
  X(VPMINUW, "vpminuw")         \
  X(VPMULDQ, "vpmuldq")         \
  X(VPMULHRSW, "vpmulhrsw")     \
  X(VPMULHUW, "vpmulhuw")       \
  X(VPMULHW, "vpmulhw")         \
  X(VPMULLD, "vpmulld")         \
  X(VPMULLW, "vpmullw")         \
  X(VPMULUDQ, "vpmuludq")       \
  X(VPOR, "vpor")               \
  X(VPSADBW, "vpsadbw")         \
  X(VPSHUFB, "vpshufb")         \
  X(VPSIGNB, "vpsignb")         \
  X(VPSIGND, "vpsignd")         \
  X(VPSIGNW, "vpsignw")         \
  X(VPSLLVD, "vpsllvd")         \
  X(VPSLLVQ, "vpsllvq")         \
  X(VPSRAVD, "vpsravd")         \
  X(VPSRLVD, "vpsrlvd")         \
  X(VPSRLVQ, "vpsrlvq")         \
  X(VPSUBB, "vpsubb")           \
  X(VPSUBD, "vpsubd")           \
  X(VPSUBQ, "vpsubq")           \
  X(VPSUBSB, "vpsubsb")         \
  X(VPSUBSW, "vpsubsw")         \
  X(VPSUBUSB, "vpsubusb")       \
  X(VPSUBUSW, "vpsubusw")       \
  X(VPSUBW, "vpsubw")           \
  X(VPUNPCKHBW, "vpunpckhbw")   \
  X(VPUNPCKHDQ, "vpunpckhdq")   \
  X(VPUNPCKHQDQ, "vpunpckhqdq") \
  X(VPUNPCKHWD, "vpunpckhwd")   \
  X(VPUNPCKLBW, "vpunpcklbw")   \
  X(VPUNPCKLDQ, "vpunpckldq")   \
  X(VPUNPCKLQDQ, "vpunpcklqdq") \
  X(VPUNPCKLWD, "vpunpcklwd")   \
  X(VPXOR, "vpxor")             \
  X(VUNPCKHPD, "vunpckhpd")     \
  X(VUNPCKHPS, "vunpckhps")     \
  X(VUNPCKLPD, "vunpcklpd")     \
  X(VUNPCKLPS, "vunpcklps")     \
  X(VXORPD, "vxorpd")           \
  X(VXORPS, "vxorps")
#define CLOISTER_AVX_PACKED_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_THREE, text)
CLOISTER_AVX_PACKED(CLOISTER_AVX_PACKED_FUNCTIONS)

#define CLOISTER_AVX_PACKED_WIDE(X) \
  X(VPERMD, "vpermd")               \
  X(VPERMPS, "vpermps")
#define CLOISTER_AVX_PACKED_WIDE_FUNCTIONS(Name, text, ...) CLOISTER_AVX_WIDE_OP(Name, CLOISTER_AVX_THREE, text)
CLOISTER_AVX_PACKED_WIDE(CLOISTER_AVX_PACKED_WIDE_FUNCTIONS)

#define CLOISTER_AVX_UNARY(X) \
  X(VPABSB, "vpabsb")         \
  X(VPABSD, "vpabsd")         \
  X(VPABSW, "vpabsw")         \
  X(VMOVDDUP, "vmovddup")     \
  X(VMOVSHDUP, "vmovshdup")   \
  X(VMOVSLDUP, "vmovsldup")
#define CLOISTER_AVX_UNARY_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_TWO, text)
CLOISTER_AVX_UNARY(CLOISTER_AVX_UNARY_FUNCTIONS)

#define CLOISTER_AVX_UNARY_NARROW(X) \
  X(VPHMINPOSUW, "vphminposuw")      \
  X(VAESIMC, "vaesimc")
#define CLOISTER_AVX_UNARY_NARROW_FUNCTIONS(Name, text, ...) CLOISTER_AVX_NARROW_OP(Name, CLOISTER_AVX_TWO, text)
CLOISTER_AVX_UNARY_NARROW(CLOISTER_AVX_UNARY_NARROW_FUNCTIONS)

// The count is in the low 64 bits of an XMM register or of memory, or an immediate: then it is put into a register.
#define CLOISTER_AVX_SHIFT_CODE(w, text) \
  CLOISTER_AVX_FIRST(w) CLOISTER_AVX_SECOND(x) text " %%xmm2, %%" #w "mm1, %%" #w "mm0"
#define CLOISTER_AVX_SHIFT_BY(w, text) \
  CLOISTER_AVX_SECOND(w) "vmovq 136(%[v]), %%xmm3\n\t" text " %%xmm3, %%" #w "mm2, %%" #w "mm0"
#define CLOISTER_AVX_SHIFT(X) \
  X(VPSLLD, "vpslld")         \
  X(VPSLLQ, "vpsllq")         \
  X(VPSLLW, "vpsllw")         \
  X(VPSRAD, "vpsrad")         \
  X(VPSRAW, "vpsraw")         \
  X(VPSRLD, "vpsrld")         \
  X(VPSRLQ, "vpsrlq")         \
  X(VPSRLW, "vpsrlw")
#define CLOISTER_AVX_SHIFT_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_SHIFT_CODE, text)
CLOISTER_AVX_SHIFT(CLOISTER_AVX_SHIFT_FUNCTIONS)

namespace by_immediate {
#define CLOISTER_AVX_SHIFT_IMMEDIATE(Name, text) CLOISTER_AVX_OP(Name, CLOISTER_AVX_SHIFT_BY, text)
CLOISTER_AVX_SHIFT(CLOISTER_AVX_SHIFT_IMMEDIATE)
}  // namespace by_immediate

// The mask is the register in the immediate.
#define CLOISTER_AVX_BLENDV(X) \
  X(VBLENDVPD, "vblendvpd")    \
  X(VBLENDVPS, "vblendvps")    \
  X(VPBLENDVB, "vpblendvb")
#define CLOISTER_AVX_BLENDV_FUNCTIONS(Name, text) CLOISTER_AVX_OP(Name, CLOISTER_AVX_FOUR, text)
CLOISTER_AVX_BLENDV(CLOISTER_AVX_BLENDV_FUNCTIONS)

#define CLOISTER_ROW(Name, text) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide},
#define CLOISTER_SHIFT_ROW(Name, text)                                                              \
  {ZYDIS_MNEMONIC_##Name, Name::narrow,      Name::wide,           Lanes::integer,                  \
   Arithmetic::none,      AvxResult::vector, AvxForm::no_immediate},                                \
      {ZYDIS_MNEMONIC_##Name, by_immediate::Name::narrow, by_immediate::Name::wide, Lanes::integer, \
       Arithmetic::none,      AvxResult::vector,          AvxForm::immediate},
constexpr AvxRow rows[] = {CLOISTER_AVX_PACKED(CLOISTER_ROW) CLOISTER_AVX_PACKED_WIDE(CLOISTER_ROW)
                               CLOISTER_AVX_UNARY(CLOISTER_ROW) CLOISTER_AVX_UNARY_NARROW(CLOISTER_ROW)
                                   CLOISTER_AVX_SHIFT(CLOISTER_SHIFT_ROW) CLOISTER_AVX_BLENDV(CLOISTER_ROW)};

}  // namespace

std::span<const AvxRow> avx_packed_rows() { return rows; }

}  // namespace cloister::silicon
