// SSE floating-point arithmetic: every row is the host's own instruction under the guest's MXCSR (SDM vol. 1, 11.4.1
// and 10.4.1; exceptions: 11.5).
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

template <Lanes lanes, Arithmetic what = Arithmetic::none>
using Scalar32 = VectorTraits<4, Align::none, lanes, true, what>;
template <Lanes lanes, Arithmetic what = Arithmetic::none>
using Scalar64 = VectorTraits<8, Align::none, lanes, true, what>;
template <Lanes lanes, Arithmetic what = Arithmetic::none>
using Packed = VectorTraits<16, Align::vector, lanes, false, what>;

#define CLOISTER_SSE_FLOAT(X)                                     \
  X(ADDSS, "addss", Scalar32<Lanes::ss, Arithmetic::add>)         \
  X(ADDSD, "addsd", Scalar64<Lanes::sd, Arithmetic::add>)         \
  X(ADDPS, "addps", Packed<Lanes::ps, Arithmetic::add>)           \
  X(ADDPD, "addpd", Packed<Lanes::pd, Arithmetic::add>)           \
  X(SUBSS, "subss", Scalar32<Lanes::ss, Arithmetic::sub>)         \
  X(SUBSD, "subsd", Scalar64<Lanes::sd, Arithmetic::sub>)         \
  X(SUBPS, "subps", Packed<Lanes::ps, Arithmetic::sub>)           \
  X(SUBPD, "subpd", Packed<Lanes::pd, Arithmetic::sub>)           \
  X(MULSS, "mulss", Scalar32<Lanes::ss, Arithmetic::mul>)         \
  X(MULSD, "mulsd", Scalar64<Lanes::sd, Arithmetic::mul>)         \
  X(MULPS, "mulps", Packed<Lanes::ps, Arithmetic::mul>)           \
  X(MULPD, "mulpd", Packed<Lanes::pd, Arithmetic::mul>)           \
  X(DIVSS, "divss", Scalar32<Lanes::ss, Arithmetic::div>)         \
  X(DIVSD, "divsd", Scalar64<Lanes::sd, Arithmetic::div>)         \
  X(DIVPS, "divps", Packed<Lanes::ps, Arithmetic::div>)           \
  X(DIVPD, "divpd", Packed<Lanes::pd, Arithmetic::div>)           \
  X(SQRTSS, "sqrtss", Scalar32<Lanes::exact>)                     \
  X(SQRTSD, "sqrtsd", Scalar64<Lanes::exact>)                     \
  X(SQRTPS, "sqrtps", Packed<Lanes::exact>)                       \
  X(SQRTPD, "sqrtpd", Packed<Lanes::exact>)                       \
  X(MINSS, "minss", Scalar32<Lanes::exact>)                       \
  X(MINSD, "minsd", Scalar64<Lanes::exact>)                       \
  X(MINPS, "minps", Packed<Lanes::exact>)                         \
  X(MINPD, "minpd", Packed<Lanes::exact>)                         \
  X(MAXSS, "maxss", Scalar32<Lanes::exact>)                       \
  X(MAXSD, "maxsd", Scalar64<Lanes::exact>)                       \
  X(MAXPS, "maxps", Packed<Lanes::exact>)                         \
  X(MAXPD, "maxpd", Packed<Lanes::exact>)                         \
  X(ADDSUBPS, "addsubps", Packed<Lanes::ps, Arithmetic::add_sub>) \
  X(ADDSUBPD, "addsubpd", Packed<Lanes::pd, Arithmetic::add_sub>) \
  X(HADDPS, "haddps", Packed<Lanes::ps, Arithmetic::add_pairs>)   \
  X(HADDPD, "haddpd", Packed<Lanes::pd, Arithmetic::add_pairs>)   \
  X(HSUBPS, "hsubps", Packed<Lanes::ps, Arithmetic::sub_pairs>)   \
  X(HSUBPD, "hsubpd", Packed<Lanes::pd, Arithmetic::sub_pairs>)   \
  X(ANDPS, "andps", HotInteger)                                   \
  X(ANDPD, "andpd", HotInteger)                                   \
  X(ANDNPS, "andnps", HotInteger)                                 \
  X(ANDNPD, "andnpd", HotInteger)                                 \
  X(ORPS, "orps", HotInteger)                                     \
  X(ORPD, "orpd", HotInteger)                                     \
  X(XORPS, "xorps", HotInteger)                                   \
  X(XORPD, "xorpd", HotInteger)                                   \
  X(UNPCKLPS, "unpcklps", HotInteger)                             \
  X(UNPCKLPD, "unpcklpd", HotInteger)                             \
  X(UNPCKHPS, "unpckhps", PackedInteger)                          \
  X(UNPCKHPD, "unpckhpd", PackedInteger)

CLOISTER_SSE_FLOAT(CLOISTER_VECTOR_OP)

#define CLOISTER_ROW(Name, text, ...) {ZYDIS_MNEMONIC_##Name, select_vector<Name>},
constexpr Row rows[] = {CLOISTER_SSE_FLOAT(CLOISTER_ROW)};

}  // namespace

std::span<const Row> sse_float_rows() { return rows; }

}  // namespace cloister::silicon
