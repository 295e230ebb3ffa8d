// VEX-encoded floating-point arithmetic (SDM vol. 1, 14.1.3; vol. 2, ADDPS, …).
#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_AVX_FLOAT(X)                               \
  X(VADDPD, "vaddpd", Lanes::pd, Arithmetic::add)           \
  X(VADDPS, "vaddps", Lanes::ps, Arithmetic::add)           \
  X(VADDSUBPD, "vaddsubpd", Lanes::pd, Arithmetic::add_sub) \
  X(VADDSUBPS, "vaddsubps", Lanes::ps, Arithmetic::add_sub) \
  X(VDIVPD, "vdivpd", Lanes::pd, Arithmetic::div)           \
  X(VDIVPS, "vdivps", Lanes::ps, Arithmetic::div)           \
  X(VHADDPD, "vhaddpd", Lanes::pd, Arithmetic::add_pairs)   \
  X(VHADDPS, "vhaddps", Lanes::ps, Arithmetic::add_pairs)   \
  X(VHSUBPD, "vhsubpd", Lanes::pd, Arithmetic::sub_pairs)   \
  X(VHSUBPS, "vhsubps", Lanes::ps, Arithmetic::sub_pairs)   \
  X(VMAXPD, "vmaxpd", Lanes::exact)                         \
  X(VMAXPS, "vmaxps", Lanes::exact)                         \
  X(VMINPD, "vminpd", Lanes::exact)                         \
  X(VMINPS, "vminps", Lanes::exact)                         \
  X(VMULPD, "vmulpd", Lanes::pd, Arithmetic::mul)           \
  X(VMULPS, "vmulps", Lanes::ps, Arithmetic::mul)           \
  X(VSUBPD, "vsubpd", Lanes::pd, Arithmetic::sub)           \
  X(VSUBPS, "vsubps", Lanes::ps, Arithmetic::sub)
#define CLOISTER_AVX_FLOAT_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_THREE, text)
CLOISTER_AVX_FLOAT(CLOISTER_AVX_FLOAT_FUNCTIONS)

#define CLOISTER_AVX_FLOAT_NARROW(X)                       \
  X(VADDSD, "vaddsd", Lanes::sd, Arithmetic::add)          \
  X(VADDSS, "vaddss", Lanes::ss, Arithmetic::add)          \
  X(VCVTSD2SS, "vcvtsd2ss", Lanes::ss, Arithmetic::narrow) \
  X(VCVTSS2SD, "vcvtss2sd", Lanes::exact)                  \
  X(VDIVSD, "vdivsd", Lanes::sd, Arithmetic::div)          \
  X(VDIVSS, "vdivss", Lanes::ss, Arithmetic::div)          \
  X(VMAXSD, "vmaxsd", Lanes::exact)                        \
  X(VMAXSS, "vmaxss", Lanes::exact)                        \
  X(VMINSD, "vminsd", Lanes::exact)                        \
  X(VMINSS, "vminss", Lanes::exact)                        \
  X(VMULSD, "vmulsd", Lanes::sd, Arithmetic::mul)          \
  X(VMULSS, "vmulss", Lanes::ss, Arithmetic::mul)          \
  X(VSQRTSD, "vsqrtsd", Lanes::exact)                      \
  X(VSQRTSS, "vsqrtss", Lanes::exact)                      \
  X(VSUBSD, "vsubsd", Lanes::sd, Arithmetic::sub)          \
  X(VSUBSS, "vsubss", Lanes::ss, Arithmetic::sub)
#define CLOISTER_AVX_FLOAT_NARROW_FUNCTIONS(Name, text, ...) CLOISTER_AVX_NARROW_OP(Name, CLOISTER_AVX_THREE, text)
CLOISTER_AVX_FLOAT_NARROW(CLOISTER_AVX_FLOAT_NARROW_FUNCTIONS)

#define CLOISTER_AVX_ROOT(X)          \
  X(VSQRTPD, "vsqrtpd", Lanes::exact) \
  X(VSQRTPS, "vsqrtps", Lanes::exact)
#define CLOISTER_AVX_ROOT_FUNCTIONS(Name, text, ...) CLOISTER_AVX_OP(Name, CLOISTER_AVX_TWO, text)
CLOISTER_AVX_ROOT(CLOISTER_AVX_ROOT_FUNCTIONS)

#define CLOISTER_ROW(Name, text, ...) {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide, __VA_ARGS__},
constexpr AvxRow rows[] = {CLOISTER_AVX_FLOAT(CLOISTER_ROW) CLOISTER_AVX_FLOAT_NARROW(CLOISTER_ROW)
                               CLOISTER_AVX_ROOT(CLOISTER_ROW)};

}  // namespace

std::span<const AvxRow> avx_float_rows() { return rows; }

}  // namespace cloister::silicon
