// Instructions that are undefined in enclave mode (SDM vol. 3D, 36.6.1 and table 36-2).
#include "silicon/sgx/illegal.hpp"

#include <algorithm>
#include <array>

namespace cloister::silicon {

namespace {
constexpr std::array illegal{
    ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_GETSEC, ZYDIS_MNEMONIC_RDPMC, ZYDIS_MNEMONIC_SGDT,    ZYDIS_MNEMONIC_SIDT,
    ZYDIS_MNEMONIC_SLDT,  ZYDIS_MNEMONIC_STR,    ZYDIS_MNEMONIC_SMSW,  ZYDIS_MNEMONIC_VMCALL,  ZYDIS_MNEMONIC_VMFUNC,
    ZYDIS_MNEMONIC_IN,    ZYDIS_MNEMONIC_INSB,   ZYDIS_MNEMONIC_INSW,  ZYDIS_MNEMONIC_INSD,    ZYDIS_MNEMONIC_OUT,
    ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW,  ZYDIS_MNEMONIC_OUTSD, ZYDIS_MNEMONIC_INT,     ZYDIS_MNEMONIC_INTO,
    ZYDIS_MNEMONIC_IRET,  ZYDIS_MNEMONIC_IRETD,  ZYDIS_MNEMONIC_IRETQ, ZYDIS_MNEMONIC_LDS,     ZYDIS_MNEMONIC_LES,
    ZYDIS_MNEMONIC_LFS,   ZYDIS_MNEMONIC_LGS,    ZYDIS_MNEMONIC_LSS,   ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER,
};

bool is_segment_register(const ZydisDecodedOperand& o) {
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_SEGMENT;
}
}  // namespace

bool illegal_in_enclave(const Insn& insn, EnclaveCode where) {
  if (where == EnclaveCode::outside) return false;
  const ZydisMnemonic m = insn.info.mnemonic;
  if (m == ZYDIS_MNEMONIC_RDTSC || m == ZYDIS_MNEMONIC_RDTSCP) return where == EnclaveCode::sgx1;
  if (insn.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return true;
  const bool loads_segment =
      (m == ZYDIS_MNEMONIC_MOV || m == ZYDIS_MNEMONIC_POP) && is_segment_register(insn.operand[0]);
  return loads_segment || std::ranges::find(illegal, m) != illegal.end();
}

}  // namespace cloister::silicon
