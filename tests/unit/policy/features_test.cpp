// Names of features: as libxl, libvirt and QEMU spell them, and at the bit that the manual gives (SDM vol. 2A, CPUID,
// tables 3-8, 3-10 and 3-11).
#include <gtest/gtest.h>

#include <set>

#include "policy/policy.hpp"
#include "text/nearest.hpp"

namespace cloister::policy {
namespace {

struct Bit {
  const char* name;
  u32 leaf, subleaf;
  CpuidReg reg;
  unsigned bit;
};

TEST(Features, StandWhereTheManualPutsThem) {
  const Bit bits[] = {
      {"sse4.1", 1, 0, CpuidReg::ecx, 19},
      {"aes", 1, 0, CpuidReg::ecx, 25},
      {"cx16", 1, 0, CpuidReg::ecx, 13},
      {"rdrand", 1, 0, CpuidReg::ecx, 30},
      {"tsc-deadline", 1, 0, CpuidReg::ecx, 24},
      {"x2apic", 1, 0, CpuidReg::ecx, 21},
      {"arat", 6, 0, CpuidReg::eax, 2},
      {"fsgsbase", 7, 0, CpuidReg::ebx, 0},
      {"sgx", 7, 0, CpuidReg::ebx, 2},
      {"smap", 7, 0, CpuidReg::ebx, 20},
      {"sha", 7, 0, CpuidReg::ebx, 29},
      {"umip", 7, 0, CpuidReg::ecx, 2},
      {"sgxlc", 7, 0, CpuidReg::ecx, 30},
      {"xsavec", 0xd, 1, CpuidReg::eax, 1},
      {"sgx2", 0x12, 0, CpuidReg::eax, 1},
      {"sgx-edeccssa", 0x12, 0, CpuidReg::eax, 11},
      {"sgx-exinfo", 0x12, 0, CpuidReg::ebx, 0},
      {"sgx-debug", 0x12, 1, CpuidReg::eax, 1},
      {"sgx-mode64", 0x12, 1, CpuidReg::eax, 2},
      {"sgx-provisionkey", 0x12, 1, CpuidReg::eax, 4},
      {"sgx-tokenkey", 0x12, 1, CpuidReg::eax, 5},
      {"sgx-kss", 0x12, 1, CpuidReg::eax, 7},
      {"sgx-aex-notify", 0x12, 1, CpuidReg::eax, 10},
      {"nx", 0x8000'0001, 0, CpuidReg::edx, 20},
      {"pdpe1gb", 0x8000'0001, 0, CpuidReg::edx, 26},
      {"invtsc", 0x8000'0007, 0, CpuidReg::edx, 8},
  };
  for (const Bit& bit : bits) {
    const Feature* feature = find_feature(bit.name);
    ASSERT_NE(feature, nullptr) << bit.name;
    EXPECT_EQ(feature->leaf, bit.leaf) << bit.name;
    EXPECT_EQ(feature->subleaf, bit.subleaf) << bit.name;
    EXPECT_EQ(feature->reg, bit.reg) << bit.name;
    EXPECT_EQ(feature->bit, bit.bit) << bit.name;
  }
}

TEST(Features, AliasesAreTheSameBit) {
  const std::pair<const char*, const char*> aliases[] = {{"sse4.1", "sse4_1"}, {"sse4.2", "sse4_2"},
                                                         {"sgxlc", "sgx_lc"},  {"sse3", "pni"},
                                                         {"lzcnt", "abm"},     {"pdpe1gb", "page1gb"}};
  for (const auto& [a, b] : aliases) {
    const Feature *first = find_feature(a), *second = find_feature(b);
    ASSERT_TRUE(first != nullptr && second != nullptr) << a << " " << b;
    EXPECT_EQ(std::tie(first->leaf, first->subleaf, first->reg, first->bit),
              std::tie(second->leaf, second->subleaf, second->reg, second->bit))
        << a << " " << b;
  }
}

TEST(Features, ANameMeansOneBit) {
  std::set<std::string_view> names;
  for (const Feature& feature : features()) EXPECT_TRUE(names.insert(feature.name).second) << feature.name;
}

TEST(Nearest, CountsOneForEachTypingError) {
  EXPECT_EQ(text::edit_distance("memory", "memory"), 0u);
  EXPECT_EQ(text::edit_distance("memroy", "memory"), 1u) << "neighbours swapped";
  EXPECT_EQ(text::edit_distance("memry", "memory"), 1u);
  EXPECT_EQ(text::edit_distance("", "epc"), 3u);
}

TEST(Nearest, OffersNothingThatIsFar) {
  const std::string_view names[] = {"memory", "kernel", "epc"};
  EXPECT_EQ(text::nearest("kernal", names), "kernel");
  EXPECT_EQ(text::nearest("virtio", names), std::nullopt);
  EXPECT_EQ(text::nearest("", names), std::nullopt);
}

// SDM vol. 3D, 37.7.1 and vol. 4, table 2-2: bit 0 locks, bit 17 makes the launch key's hash writable, bit 18 enables.
TEST(FeatureControl, FollowsSgxAndLaunchControl) {
  MsrPolicy msr;
  EXPECT_EQ(msr.feature_control(), 0x1u);
  msr.sgx = true;
  EXPECT_EQ(msr.feature_control(), 0x40001u);
  msr.launch_control = true;
  EXPECT_EQ(msr.feature_control(), 0x60001u);
  msr.lepubkeyhash_writable = false;
  EXPECT_EQ(msr.feature_control(), 0x40001u);
}

}  // namespace
}  // namespace cloister::policy
