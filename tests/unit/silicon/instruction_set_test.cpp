// The table of CPUID bits knows every instruction set that the decoder knows.
#include "silicon/decode/instruction_set.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace cloister::silicon {
namespace {

using arch::CpuidBit;
using enum arch::CpuidReg;
using Bits = std::vector<CpuidBit>;

constexpr CpuidBit avx{1, 0, ecx, 28}, avx512f{7, 0, ebx, 16}, avx512vl{7, 0, ebx, 31};

std::optional<Bits> bits_of(ZydisISASet set, ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID) {
  return offered_by(set, mnemonic);
}

TEST(InstructionSet, EverySetIsKnown) {
  // SEAM's, and those of Knights Corner, which were not x86-64's.
  const std::set<ZydisISASet> never = {
      ZYDIS_ISA_SET_TDX,      ZYDIS_ISA_SET_KNCE, ZYDIS_ISA_SET_KNCJKBR,     ZYDIS_ISA_SET_KNCSTREAM,
      ZYDIS_ISA_SET_KNC_MISC, ZYDIS_ISA_SET_KNCV, ZYDIS_ISA_SET_KNC_PF_HINT,
  };
  for (int i = ZYDIS_ISA_SET_INVALID + 1; i <= ZYDIS_ISA_SET_MAX_VALUE; ++i) {
    const auto set = static_cast<ZydisISASet>(i);
    EXPECT_EQ(bits_of(set).has_value(), !never.contains(set)) << ZydisISASetGetString(set);
  }
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_INVALID), std::nullopt);
}

TEST(InstructionSet, BitsAreTheManuals) {
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_I86), Bits{});
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_AVX), Bits{avx});
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_AVX512F_512), Bits{avx512f});
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_AVX512F_256), (Bits{avx512f, avx512vl}));
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_AVX512F_128N), Bits{avx512f});
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_PKU), (Bits{{7, 0, ecx, 3}}));
}

TEST(InstructionSet, AnInstructionMayHaveABitOfItsOwn) {
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_MOVDIR, ZYDIS_MNEMONIC_MOVDIRI), (Bits{{7, 0, ecx, 27}}));
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_MOVDIR, ZYDIS_MNEMONIC_MOVDIR64B), (Bits{{7, 0, ecx, 28}}));
  EXPECT_EQ(bits_of(ZYDIS_ISA_SET_PENTIUMREAL, ZYDIS_MNEMONIC_CMPXCHG8B), (Bits{{1, 0, edx, 8}}));
}

}  // namespace
}  // namespace cloister::silicon
