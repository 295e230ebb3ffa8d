// Instructions whose immediate the host must have as a constant: dot products, rounding, sums of differences (SDM vol.
// 2, DPPS, ROUNDPS, MPSADBW).
#include "silicon/cpu/sse_rows.hpp"
#include "silicon/cpu/vector_op.hpp"

namespace cloister::silicon {
namespace {

// Bits 1:0 rounding mode, bit 2 take MXCSR's instead, bit 3 no precision exception.
CLOISTER_IMMEDIATE_OP(ROUNDSS, "roundss", 16, VectorTraits<4, Align::none, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDSD, "roundsd", 16, VectorTraits<8, Align::none, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDPS, "roundps", 16, VectorTraits<16, Align::vector, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(ROUNDPD, "roundpd", 16, VectorTraits<16, Align::vector, Lanes::exact>)
CLOISTER_IMMEDIATE_OP(MPSADBW, "mpsadbw", 8, PackedInteger)
CLOISTER_IMMEDIATE_OP(DPPS, "dpps", 256, VectorTraits<16, Align::vector, Lanes::ps>)
CLOISTER_IMMEDIATE_OP(DPPD, "dppd", 64, VectorTraits<16, Align::vector, Lanes::pd>)

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_ROUNDSS, select_vector<ROUNDSS>}, {ZYDIS_MNEMONIC_ROUNDSD, select_vector<ROUNDSD>},
    {ZYDIS_MNEMONIC_ROUNDPS, select_vector<ROUNDPS>}, {ZYDIS_MNEMONIC_ROUNDPD, select_vector<ROUNDPD>},
    {ZYDIS_MNEMONIC_MPSADBW, select_vector<MPSADBW>}, {ZYDIS_MNEMONIC_DPPS, select_vector<DPPS>},
    {ZYDIS_MNEMONIC_DPPD, select_vector<DPPD>},
};

}  // namespace

std::span<const Row> sse_immediate_rows() { return rows; }

}  // namespace cloister::silicon
