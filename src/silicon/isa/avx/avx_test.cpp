// VEX-encoded comparisons to RFLAGS (SDM vol. 2, COMISD, PTEST, VTESTPS): OF, SF and AF become 0.
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

// ZF, PF and CF, of what LAHF sees.
#define CLOISTER_AVX_TEST(w, text) \
  CLOISTER_AVX_FIRST(w)            \
  CLOISTER_AVX_SECOND(w)           \
  text " %%" #w "mm2, %%" #w "mm1\n\tlahf\n\tmovzbl %%ah, %%eax\n\tand $0x45, %%eax\n\tmov %%rax, 144(%[v])"
#define CLOISTER_AVX_TESTS(Name, text)                                         \
  struct Name {                                                                \
    CLOISTER_AVX_FUNCTION(narrow, CLOISTER_AVX_TEST(x, text))                  \
    CLOISTER_AVX_FUNCTION(wide, CLOISTER_AVX_TEST(y, text) CLOISTER_AVX_END_y) \
  };
#define CLOISTER_AVX_SCALAR_TEST(Name, text)                  \
  struct Name {                                               \
    CLOISTER_AVX_FUNCTION(narrow, CLOISTER_AVX_TEST(x, text)) \
  };
CLOISTER_AVX_TESTS(VPTEST, "vptest")
CLOISTER_AVX_TESTS(VTESTPS, "vtestps")
CLOISTER_AVX_TESTS(VTESTPD, "vtestpd")
CLOISTER_AVX_SCALAR_TEST(VCOMISS, "vcomiss")
CLOISTER_AVX_SCALAR_TEST(VCOMISD, "vcomisd")
CLOISTER_AVX_SCALAR_TEST(VUCOMISS, "vucomiss")
CLOISTER_AVX_SCALAR_TEST(VUCOMISD, "vucomisd")

#define CLOISTER_ROW(Name) \
  { .mnemonic = ZYDIS_MNEMONIC_##Name, .narrow = Name::narrow, .wide = Name::wide, .result = AvxResult::flags }
#define CLOISTER_SCALAR_ROW(Name) \
  { .mnemonic = ZYDIS_MNEMONIC_##Name, .narrow = Name::narrow, .lanes = Lanes::exact, .result = AvxResult::flags }
constexpr AvxRow rows[] = {
    CLOISTER_ROW(VPTEST),          CLOISTER_ROW(VTESTPS),        CLOISTER_ROW(VTESTPD),
    CLOISTER_SCALAR_ROW(VCOMISS),  CLOISTER_SCALAR_ROW(VCOMISD), CLOISTER_SCALAR_ROW(VUCOMISS),
    CLOISTER_SCALAR_ROW(VUCOMISD),
};

}  // namespace

std::span<const AvxRow> avx_test_rows() { return rows; }

}  // namespace cloister::silicon
