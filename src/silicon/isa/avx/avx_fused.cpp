// Fused multiplication and addition (SDM vol. 1, 14.5; vol. 2, VFMADD132PD, …). The three numbers in a name say which
// operands are multiplied, and which one is added.
#include "silicon/isa/avx/avx_fused.hpp"

#include "silicon/isa/avx/avx_code.hpp"
#include "silicon/isa/avx/avx_rows.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_AVX_FUSED_PACKED(X)             \
  X(VFMADD132PD, "vfmadd132pd", Lanes::pd)       \
  X(VFMADD132PS, "vfmadd132ps", Lanes::ps)       \
  X(VFMADD213PD, "vfmadd213pd", Lanes::pd)       \
  X(VFMADD213PS, "vfmadd213ps", Lanes::ps)       \
  X(VFMADD231PD, "vfmadd231pd", Lanes::pd)       \
  X(VFMADD231PS, "vfmadd231ps", Lanes::ps)       \
  X(VFMADDSUB132PD, "vfmaddsub132pd", Lanes::pd) \
  X(VFMADDSUB132PS, "vfmaddsub132ps", Lanes::ps) \
  X(VFMADDSUB213PD, "vfmaddsub213pd", Lanes::pd) \
  X(VFMADDSUB213PS, "vfmaddsub213ps", Lanes::ps) \
  X(VFMADDSUB231PD, "vfmaddsub231pd", Lanes::pd) \
  X(VFMADDSUB231PS, "vfmaddsub231ps", Lanes::ps) \
  X(VFMSUB132PD, "vfmsub132pd", Lanes::pd)       \
  X(VFMSUB132PS, "vfmsub132ps", Lanes::ps)       \
  X(VFMSUB213PD, "vfmsub213pd", Lanes::pd)       \
  X(VFMSUB213PS, "vfmsub213ps", Lanes::ps)       \
  X(VFMSUB231PD, "vfmsub231pd", Lanes::pd)       \
  X(VFMSUB231PS, "vfmsub231ps", Lanes::ps)       \
  X(VFMSUBADD132PD, "vfmsubadd132pd", Lanes::pd) \
  X(VFMSUBADD132PS, "vfmsubadd132ps", Lanes::ps) \
  X(VFMSUBADD213PD, "vfmsubadd213pd", Lanes::pd) \
  X(VFMSUBADD213PS, "vfmsubadd213ps", Lanes::ps) \
  X(VFMSUBADD231PD, "vfmsubadd231pd", Lanes::pd) \
  X(VFMSUBADD231PS, "vfmsubadd231ps", Lanes::ps) \
  X(VFNMADD132PD, "vfnmadd132pd", Lanes::pd)     \
  X(VFNMADD132PS, "vfnmadd132ps", Lanes::ps)     \
  X(VFNMADD213PD, "vfnmadd213pd", Lanes::pd)     \
  X(VFNMADD213PS, "vfnmadd213ps", Lanes::ps)     \
  X(VFNMADD231PD, "vfnmadd231pd", Lanes::pd)     \
  X(VFNMADD231PS, "vfnmadd231ps", Lanes::ps)     \
  X(VFNMSUB132PD, "vfnmsub132pd", Lanes::pd)     \
  X(VFNMSUB132PS, "vfnmsub132ps", Lanes::ps)     \
  X(VFNMSUB213PD, "vfnmsub213pd", Lanes::pd)     \
  X(VFNMSUB213PS, "vfnmsub213ps", Lanes::ps)     \
  X(VFNMSUB231PD, "vfnmsub231pd", Lanes::pd)     \
  X(VFNMSUB231PS, "vfnmsub231ps", Lanes::ps)
#define CLOISTER_FUSED_FUNCTIONS(Name, text, lanes) CLOISTER_AVX_OP(Name, CLOISTER_AVX_FUSED, text)
CLOISTER_AVX_FUSED_PACKED(CLOISTER_FUSED_FUNCTIONS)

#define CLOISTER_AVX_FUSED_SCALAR(X)         \
  X(VFMADD132SD, "vfmadd132sd", Lanes::sd)   \
  X(VFMADD132SS, "vfmadd132ss", Lanes::ss)   \
  X(VFMADD213SD, "vfmadd213sd", Lanes::sd)   \
  X(VFMADD213SS, "vfmadd213ss", Lanes::ss)   \
  X(VFMADD231SD, "vfmadd231sd", Lanes::sd)   \
  X(VFMADD231SS, "vfmadd231ss", Lanes::ss)   \
  X(VFMSUB132SD, "vfmsub132sd", Lanes::sd)   \
  X(VFMSUB132SS, "vfmsub132ss", Lanes::ss)   \
  X(VFMSUB213SD, "vfmsub213sd", Lanes::sd)   \
  X(VFMSUB213SS, "vfmsub213ss", Lanes::ss)   \
  X(VFMSUB231SD, "vfmsub231sd", Lanes::sd)   \
  X(VFMSUB231SS, "vfmsub231ss", Lanes::ss)   \
  X(VFNMADD132SD, "vfnmadd132sd", Lanes::sd) \
  X(VFNMADD132SS, "vfnmadd132ss", Lanes::ss) \
  X(VFNMADD213SD, "vfnmadd213sd", Lanes::sd) \
  X(VFNMADD213SS, "vfnmadd213ss", Lanes::ss) \
  X(VFNMADD231SD, "vfnmadd231sd", Lanes::sd) \
  X(VFNMADD231SS, "vfnmadd231ss", Lanes::ss) \
  X(VFNMSUB132SD, "vfnmsub132sd", Lanes::sd) \
  X(VFNMSUB132SS, "vfnmsub132ss", Lanes::ss) \
  X(VFNMSUB213SD, "vfnmsub213sd", Lanes::sd) \
  X(VFNMSUB213SS, "vfnmsub213ss", Lanes::ss) \
  X(VFNMSUB231SD, "vfnmsub231sd", Lanes::sd) \
  X(VFNMSUB231SS, "vfnmsub231ss", Lanes::ss)
#define CLOISTER_FUSED_SCALAR_FUNCTIONS(Name, text, lanes) CLOISTER_AVX_NARROW_OP(Name, CLOISTER_AVX_FUSED, text)
CLOISTER_AVX_FUSED_SCALAR(CLOISTER_FUSED_SCALAR_FUNCTIONS)

#define CLOISTER_ROW(Name, text, lanes)                                      \
  {ZYDIS_MNEMONIC_##Name, Name::narrow, Name::wide, lanes, Arithmetic::none, \
   AvxResult::vector,     AvxForm::any, true,       false, &fused_exception},
constexpr AvxRow rows[] = {CLOISTER_AVX_FUSED_PACKED(CLOISTER_ROW) CLOISTER_AVX_FUSED_SCALAR(CLOISTER_ROW)};

}  // namespace

std::span<const AvxRow> avx_fused_rows() { return rows; }

}  // namespace cloister::silicon
