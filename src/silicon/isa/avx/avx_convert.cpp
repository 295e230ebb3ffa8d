// VEX-encoded conversions, extensions and broadcasts: source and result have different widths (SDM vol. 2, VCVTPS2PD,
// VPMOVSX, VPBROADCAST, VCVTPH2PS, …).
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

// The source is half as wide, or less: an XMM register.
#define CLOISTER_AVX_WIDEN(w, text) CLOISTER_AVX_SECOND(x) text " %%xmm2, %%" #w "mm0"
// The result is half as wide: its register's upper half is clear.
#define CLOISTER_AVX_HALVE(w, text) CLOISTER_AVX_SECOND(w) text " %%" #w "mm2, %%xmm0"

#define CLOISTER_AVX_CONVERT(X)           \
  X(VCVTDQ2PS, "vcvtdq2ps", Lanes::exact) \
  X(VCVTPS2DQ, "vcvtps2dq", Lanes::exact) \
  X(VCVTTPS2DQ, "vcvttps2dq", Lanes::exact)
#define CLOISTER_AVX_CONVERT_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_TWO, text)
CLOISTER_AVX_CONVERT(CLOISTER_AVX_CONVERT_FUNCTIONS)

#define CLOISTER_AVX_LONGER(X)              \
  X(VCVTDQ2PD, "vcvtdq2pd", Lanes::integer) \
  X(VCVTPS2PD, "vcvtps2pd", Lanes::exact)   \
  X(VCVTPH2PS, "vcvtph2ps", Lanes::exact)
#define CLOISTER_AVX_LONGER_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_WIDEN, text)
CLOISTER_AVX_LONGER(CLOISTER_AVX_LONGER_FUNCTIONS)

#define CLOISTER_AVX_SHORTER(X)             \
  X(VCVTPD2DQ, "vcvtpd2dq", Lanes::exact)   \
  X(VCVTTPD2DQ, "vcvttpd2dq", Lanes::exact) \
  X(VCVTPD2PS, "vcvtpd2ps", Lanes::ps, Arithmetic::narrow)
#define CLOISTER_AVX_SHORTER_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_HALVE, text)
CLOISTER_AVX_SHORTER(CLOISTER_AVX_SHORTER_FUNCTIONS)

#define CLOISTER_AVX_EXTEND(X) \
  X(VPMOVSXBD, "vpmovsxbd")    \
  X(VPMOVSXBQ, "vpmovsxbq")    \
  X(VPMOVSXBW, "vpmovsxbw")    \
  X(VPMOVSXDQ, "vpmovsxdq")    \
  X(VPMOVSXWD, "vpmovsxwd")    \
  X(VPMOVSXWQ, "vpmovsxwq")    \
  X(VPMOVZXBD, "vpmovzxbd")    \
  X(VPMOVZXBQ, "vpmovzxbq")    \
  X(VPMOVZXBW, "vpmovzxbw")    \
  X(VPMOVZXDQ, "vpmovzxdq")    \
  X(VPMOVZXWD, "vpmovzxwd")    \
  X(VPMOVZXWQ, "vpmovzxwq")
#define CLOISTER_AVX_EXTEND_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_WIDEN, text)
CLOISTER_AVX_EXTEND(CLOISTER_AVX_EXTEND_FUNCTIONS)

#define CLOISTER_AVX_BROADCAST(X) \
  X(VBROADCASTSS, "vbroadcastss") \
  X(VPBROADCASTB, "vpbroadcastb") \
  X(VPBROADCASTD, "vpbroadcastd") \
  X(VPBROADCASTQ, "vpbroadcastq") \
  X(VPBROADCASTW, "vpbroadcastw")
#define CLOISTER_AVX_BROADCAST_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_WIDEN, text)
CLOISTER_AVX_BROADCAST(CLOISTER_AVX_BROADCAST_FUNCTIONS)

#define CLOISTER_AVX_BROADCAST_WIDE(X) X(VBROADCASTSD, "vbroadcastsd")
#define CLOISTER_AVX_BROADCAST_WIDE_FUNCTIONS(Name, text, ...) CLOISTER_AVX_WIDE_OP(Name, CLOISTER_AVX_WIDEN, text)
CLOISTER_AVX_BROADCAST_WIDE(CLOISTER_AVX_BROADCAST_WIDE_FUNCTIONS)

// ---- numbers of general registers and memory, by operand size

#define CLOISTER_AVX_INTEGERS(Name, text)                                                                       \
  struct Name {                                                                                                 \
    CLOISTER_AVX_FUNCTION(dword, CLOISTER_AVX_FIRST(x) text "l 128(%[v]), %%xmm1, %%xmm0" CLOISTER_AVX_STORE_x) \
    CLOISTER_AVX_FUNCTION(qword, CLOISTER_AVX_FIRST(x) text "q 128(%[v]), %%xmm1, %%xmm0" CLOISTER_AVX_STORE_x) \
  };
CLOISTER_AVX_INTEGERS(VCVTSI2SS, "vcvtsi2ss")
CLOISTER_AVX_INTEGERS(VCVTSI2SD, "vcvtsi2sd")

#define CLOISTER_AVX_TO_INTEGERS(Name, text)                                      \
  struct Name {                                                                   \
    CLOISTER_AVX_FUNCTION(dword, text " 64(%[v]), %%eax\n\tmov %%rax, 128(%[v])") \
    CLOISTER_AVX_FUNCTION(qword, text " 64(%[v]), %%rax\n\tmov %%rax, 128(%[v])") \
  };
CLOISTER_AVX_TO_INTEGERS(VCVTSS2SI, "vcvtss2si")
CLOISTER_AVX_TO_INTEGERS(VCVTSD2SI, "vcvtsd2si")
CLOISTER_AVX_TO_INTEGERS(VCVTTSS2SI, "vcvttss2si")
CLOISTER_AVX_TO_INTEGERS(VCVTTSD2SI, "vcvttsd2si")

#define CLOISTER_NUMBER_ROWS(Name, result)                                                               \
  {ZYDIS_MNEMONIC_##Name, Name::dword, nullptr, Lanes::exact, Arithmetic::none, result, AvxForm::dword}, \
      {ZYDIS_MNEMONIC_##Name, Name::qword, nullptr, Lanes::exact, Arithmetic::none, result, AvxForm::qword},

#define CLOISTER_ROW_OF(Name, text, ...) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide, __VA_ARGS__},
#define CLOISTER_ROW(Name, text) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide},
constexpr AvxRow rows[] = {
    CLOISTER_AVX_CONVERT(CLOISTER_ROW_OF) CLOISTER_AVX_LONGER(CLOISTER_ROW_OF) CLOISTER_AVX_SHORTER(CLOISTER_ROW_OF)
        CLOISTER_AVX_EXTEND(CLOISTER_ROW) CLOISTER_AVX_BROADCAST(CLOISTER_ROW) CLOISTER_AVX_BROADCAST_WIDE(CLOISTER_ROW)
            CLOISTER_NUMBER_ROWS(VCVTSI2SS, AvxResult::vector) CLOISTER_NUMBER_ROWS(VCVTSI2SD, AvxResult::vector)
                CLOISTER_NUMBER_ROWS(VCVTSS2SI, AvxResult::number) CLOISTER_NUMBER_ROWS(VCVTSD2SI, AvxResult::number)
                    CLOISTER_NUMBER_ROWS(VCVTTSS2SI, AvxResult::number)
                        CLOISTER_NUMBER_ROWS(VCVTTSD2SI, AvxResult::number)};

}  // namespace

std::span<const AvxRow> avx_convert_rows() { return rows; }

}  // namespace cloister::silicon
