// Zydis' instruction sets by CPUID bit (SDM vol. 2A, CPUID, tables 3-8 to 3-11). Sets without a row belong to every
// x86-64 processor.
#include "oracle/cpu/host_features.hpp"

#include <cpuid.h>

#include <array>

namespace cloister::oracle {
namespace {

enum class Register : unsigned char { eax, ebx, ecx, edx };

struct Feature {
  ZydisISASet set;
  unsigned leaf, subleaf;
  Register reg;
  unsigned bit;
};

using enum Register;
constexpr Feature table[] = {
    {ZYDIS_ISA_SET_SSE3, 1, 0, ecx, 0},
    {ZYDIS_ISA_SET_SSE3X87, 1, 0, ecx, 0},
    {ZYDIS_ISA_SET_PCLMULQDQ, 1, 0, ecx, 1},
    {ZYDIS_ISA_SET_MONITOR, 1, 0, ecx, 3},
    {ZYDIS_ISA_SET_SSSE3, 1, 0, ecx, 9},
    {ZYDIS_ISA_SET_SSSE3MMX, 1, 0, ecx, 9},
    {ZYDIS_ISA_SET_CMPXCHG16B, 1, 0, ecx, 13},
    {ZYDIS_ISA_SET_SSE4, 1, 0, ecx, 19},
    {ZYDIS_ISA_SET_SSE42, 1, 0, ecx, 20},
    {ZYDIS_ISA_SET_MOVBE, 1, 0, ecx, 22},
    {ZYDIS_ISA_SET_POPCNT, 1, 0, ecx, 23},
    {ZYDIS_ISA_SET_AES, 1, 0, ecx, 25},
    {ZYDIS_ISA_SET_XSAVE, 1, 0, ecx, 27},
    {ZYDIS_ISA_SET_RDRAND, 1, 0, ecx, 30},
    {ZYDIS_ISA_SET_RDWRFSGS, 7, 0, ebx, 0},
    {ZYDIS_ISA_SET_BMI1, 7, 0, ebx, 3},
    {ZYDIS_ISA_SET_BMI2, 7, 0, ebx, 8},
    {ZYDIS_ISA_SET_RDSEED, 7, 0, ebx, 18},
    {ZYDIS_ISA_SET_ADOX_ADCX, 7, 0, ebx, 19},
    {ZYDIS_ISA_SET_CLFLUSHOPT, 7, 0, ebx, 23},
    {ZYDIS_ISA_SET_CLWB, 7, 0, ebx, 24},
    {ZYDIS_ISA_SET_SHA, 7, 0, ebx, 29},
    {ZYDIS_ISA_SET_PKU, 7, 0, ecx, 4},
    {ZYDIS_ISA_SET_RDPID, 7, 0, ecx, 22},
    {ZYDIS_ISA_SET_SERIALIZE, 7, 0, edx, 14},
    {ZYDIS_ISA_SET_XSAVEOPT, 13, 1, eax, 0},
    {ZYDIS_ISA_SET_XSAVEC, 13, 1, eax, 1},
    {ZYDIS_ISA_SET_LAHF, 0x8000'0001, 0, ecx, 0},
    {ZYDIS_ISA_SET_LZCNT, 0x8000'0001, 0, ecx, 5},
    {ZYDIS_ISA_SET_RDTSCP, 0x8000'0001, 0, edx, 27},
};

bool bit_of(const Feature& f) {
  std::array<unsigned, 4> regs{};
  if (__get_cpuid_count(f.leaf, f.subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) return false;
  return ((regs[static_cast<unsigned>(f.reg)] >> f.bit) & 1) != 0;
}

}  // namespace

bool host_has(ZydisISASet set) {
  for (const Feature& f : table)
    if (f.set == set) return bit_of(f);
  return true;
}

}  // namespace cloister::oracle
