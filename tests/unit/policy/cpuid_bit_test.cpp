// Bits of CPUID as people write them (SDM vol. 1, 1.3.6 has the longest form).
#include "policy/cpuid_bit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cloister::policy {
namespace {

using ::testing::HasSubstr;

TEST(CpuidBit, IsALeafASubleafARegisterAndABit) {
  struct Case {
    const char* text;
    u32 leaf, subleaf;
    CpuidReg reg;
    unsigned bit;
  };
  const Case cases[] = {
      {"7.0.ebx[2]", 7, 0, CpuidReg::ebx, 2},
      {"0x12.1.eax[4]", 0x12, 1, CpuidReg::eax, 4},
      {"12h.1.EAX[4]", 0x12, 1, CpuidReg::eax, 4},
      {"12.1.eax[4]", 12, 1, CpuidReg::eax, 4},
      {"1.ecx[5]", 1, 0, CpuidReg::ecx, 5},
      {"CPUID.7.0:EDX[31]", 7, 0, CpuidReg::edx, 31},
      {"CPUID.12H.0x1:EAX[0xa]", 0x12, 1, CpuidReg::eax, 10},
      {"0x80000001.edx[20]", 0x8000'0001, 0, CpuidReg::edx, 20},
      {"80000001H.EDX[20]", 0x8000'0001, 0, CpuidReg::edx, 20},
      {"CPUID.(EAX=12H, ECX=1):EAX[4]", 0x12, 1, CpuidReg::eax, 4},
      {"CPUID.(EAX=07H):EBX.SGX[bit 2]", 7, 0, CpuidReg::ebx, 2},
      {"CPUID[eax=12h,ecx=01h].EAX.sgx-debug [bit 1]", 0x12, 1, CpuidReg::eax, 1},
      // Of QEMU up to version 8, where the name alone tells the sub-leaf.
      {"CPUID.12H:EAX.sgx-debug [bit 1]", 0x12, 1, CpuidReg::eax, 1},
      {"CPUID.12H:EAX.sgx2 [bit 1]", 0x12, 0, CpuidReg::eax, 1},
      {"CPUID.01H:ECX.sse4.1 [bit 19]", 1, 0, CpuidReg::ecx, 19},
      {"CPUID.12H:EAX.sgx-debug [bit 2]", 0x12, 0, CpuidReg::eax, 2},
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(looks_like_bit(c.text)) << c.text;
    const auto bit = read_bit(c.text);
    ASSERT_TRUE(bit) << c.text;
    EXPECT_EQ(bit->leaf, c.leaf) << c.text;
    EXPECT_EQ(bit->subleaf, c.subleaf) << c.text;
    EXPECT_EQ(bit->reg, c.reg) << c.text;
    EXPECT_EQ(bit->bit, c.bit) << c.text;
  }
}

TEST(CpuidBit, AnythingElseIsAnErrorThatSaysWhatIsExpected) {
  for (const char* text : {"7.0.ebx[32]", "7.0.ebx[-1]", "7.0.ebx[]", "7.0.ebx", "7.0.ebx[2", "7.0.rbx[2]",
                           "7.0.0.ebx[2]", "ebx[2]", "[]", "]", ".ebx[2]", "7..ebx[2]", "7.0[2]", "0x.0.eax[1]",
                           "0x100000000.eax[1]", "cpuid.", "7.0x.eax[1]", "(eax=7:ebx[2]", "cpuid[ecx=0].ebx[2]"}) {
    const auto bit = read_bit(text);
    ASSERT_FALSE(bit) << text;
    EXPECT_THAT(bit.error(), HasSubstr("7.0.ebx[2]")) << text;
  }
}

TEST(CpuidBit, NamesOfFeaturesDoNotLookLikeBits) {
  for (const Feature& feature : features()) EXPECT_FALSE(looks_like_bit(feature.name)) << feature.name;
  EXPECT_FALSE(looks_like_bit(""));
  EXPECT_TRUE(looks_like_bit("7.0.ebx"));
}

}  // namespace
}  // namespace cloister::policy
