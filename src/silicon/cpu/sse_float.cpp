// SSE floating-point arithmetic: every row is the host's own instruction under the guest's MXCSR (SDM vol. 1, 11.4.1
// and 10.4.1; exceptions: 11.5).
#include "silicon/cpu/sse_rows.hpp"
#include "silicon/cpu/vector_op.hpp"

namespace cloister::silicon {
namespace {

template <Lanes lanes>
using Scalar32 = VectorTraits<4, Align::none, lanes, true>;
template <Lanes lanes>
using Scalar64 = VectorTraits<8, Align::none, lanes, true>;
template <Lanes lanes>
using Packed = VectorTraits<16, Align::vector, lanes>;

#define CLOISTER_SSE_FLOAT(X)                 \
  X(ADDSS, "addss", Scalar32<Lanes::ss>)      \
  X(ADDSD, "addsd", Scalar64<Lanes::sd>)      \
  X(ADDPS, "addps", Packed<Lanes::ps>)        \
  X(ADDPD, "addpd", Packed<Lanes::pd>)        \
  X(SUBSS, "subss", Scalar32<Lanes::ss>)      \
  X(SUBSD, "subsd", Scalar64<Lanes::sd>)      \
  X(SUBPS, "subps", Packed<Lanes::ps>)        \
  X(SUBPD, "subpd", Packed<Lanes::pd>)        \
  X(MULSS, "mulss", Scalar32<Lanes::ss>)      \
  X(MULSD, "mulsd", Scalar64<Lanes::sd>)      \
  X(MULPS, "mulps", Packed<Lanes::ps>)        \
  X(MULPD, "mulpd", Packed<Lanes::pd>)        \
  X(DIVSS, "divss", Scalar32<Lanes::ss>)      \
  X(DIVSD, "divsd", Scalar64<Lanes::sd>)      \
  X(DIVPS, "divps", Packed<Lanes::ps>)        \
  X(DIVPD, "divpd", Packed<Lanes::pd>)        \
  X(SQRTSS, "sqrtss", Scalar32<Lanes::exact>) \
  X(SQRTSD, "sqrtsd", Scalar64<Lanes::exact>) \
  X(SQRTPS, "sqrtps", Packed<Lanes::exact>)   \
  X(SQRTPD, "sqrtpd", Packed<Lanes::exact>)   \
  X(MINSS, "minss", Scalar32<Lanes::exact>)   \
  X(MINSD, "minsd", Scalar64<Lanes::exact>)   \
  X(MINPS, "minps", Packed<Lanes::exact>)     \
  X(MINPD, "minpd", Packed<Lanes::exact>)     \
  X(MAXSS, "maxss", Scalar32<Lanes::exact>)   \
  X(MAXSD, "maxsd", Scalar64<Lanes::exact>)   \
  X(MAXPS, "maxps", Packed<Lanes::exact>)     \
  X(MAXPD, "maxpd", Packed<Lanes::exact>)     \
  X(ADDSUBPS, "addsubps", Packed<Lanes::ps>)  \
  X(ADDSUBPD, "addsubpd", Packed<Lanes::pd>)  \
  X(HADDPS, "haddps", Packed<Lanes::ps>)      \
  X(HADDPD, "haddpd", Packed<Lanes::pd>)      \
  X(HSUBPS, "hsubps", Packed<Lanes::ps>)      \
  X(HSUBPD, "hsubpd", Packed<Lanes::pd>)      \
  X(ANDPS, "andps", HotInteger)               \
  X(ANDPD, "andpd", HotInteger)               \
  X(ANDNPS, "andnps", HotInteger)             \
  X(ANDNPD, "andnpd", HotInteger)             \
  X(ORPS, "orps", HotInteger)                 \
  X(ORPD, "orpd", HotInteger)                 \
  X(XORPS, "xorps", HotInteger)               \
  X(XORPD, "xorpd", HotInteger)               \
  X(UNPCKLPS, "unpcklps", HotInteger)         \
  X(UNPCKLPD, "unpcklpd", HotInteger)         \
  X(UNPCKHPS, "unpckhps", PackedInteger)      \
  X(UNPCKHPD, "unpckhpd", PackedInteger)

CLOISTER_SSE_FLOAT(CLOISTER_VECTOR_OP)

#define CLOISTER_ROW(Name, text, ...) {ZYDIS_MNEMONIC_##Name, select_vector<Name>},
constexpr Row rows[] = {CLOISTER_SSE_FLOAT(CLOISTER_ROW)};

}  // namespace

std::span<const Row> sse_float_rows() { return rows; }

}  // namespace cloister::silicon
