// Every description against what a real processor of its kind answered; and how two processors compare.
#include "policy/descriptions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "policy/cpuid_dump.hpp"
#include "unit/policy/dumps.hpp"
#include "unit/policy/known_dumps.hpp"

namespace cloister::policy {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr u32 osxsave = 1u << 27, syscall = 1u << 11;

CpuidTable described(std::string_view name) {
  const Description* const d = find_description(name);
  EXPECT_NE(d, nullptr) << name;
  return d == nullptr ? CpuidTable{} : leaves_of(*d);
}

/// The first processor of a dump; nothing if the file is not there.
std::optional<CpuidTable> dumped(const std::string& name) {
  const auto text = tests::known_dump(name);
  if (!text) return std::nullopt;
  auto dump = read_cpuid_dump(*text);
  EXPECT_TRUE(dump.has_value()) << name;
  return dump ? std::optional(dump->cpus[0].table) : std::nullopt;
}

/// An owner's report of leaf 12H, by the start of its first column: sub-leaf to registers.
std::map<u32, CpuidRegs> reported(const std::string& machine) {
  std::map<u32, CpuidRegs> subleaves;
  const auto text = tests::known_dump("leaf12-reports.tsv");
  if (!text) return subleaves;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(machine)) continue;
    std::istringstream row(line.substr(line.find('\t')));
    std::string leaf;
    u32 subleaf = 0;
    CpuidRegs r;
    row >> leaf >> std::dec >> subleaf >> std::hex >> r.eax >> r.ebx >> r.ecx >> r.edx;
    if (leaf == "12") subleaves[subleaf] = r;
  }
  return subleaves;
}

struct Source {
  const char *name, *dump;
  const char* report;  ///< of leaf 12H, where the dump has none of it; null: none
};
void PrintTo(const Source& source, std::ostream* out) { *out << source.name; }

class Described : public testing::TestWithParam<Source> {};

TEST_P(Described, AsTheDumpSays) {
  const auto dump = dumped(GetParam().dump);
  if (!dump) GTEST_SKIP() << "needs " << tests::known_dumps;
  const CpuidTable leaves = described(GetParam().name);
  const bool fused_off = sgx_state(*dump) == SgxState::absent;
  constexpr u32 sgx = 1 << 2, sgx_lc = 1 << 30;

  const CpuidRegs version = dump->get(1, 0);
  EXPECT_EQ(leaves.get(1, 0), (CpuidRegs{version.eax, 0, version.ecx & ~osxsave, version.edx}));
  CpuidRegs structured = dump->get(7, 0);
  structured.eax = 0;
  if (fused_off) structured.ebx |= sgx, structured.ecx |= sgx_lc;
  EXPECT_EQ(leaves.get(7, 0), structured);
  EXPECT_EQ(leaves.get(0xd, 1).eax, dump->get(0xd, 1).eax);
  const CpuidRegs extended = dump->get(0x8000'0001, 0);
  EXPECT_EQ(leaves.get(0x8000'0001, 0), (CpuidRegs{0, 0, extended.ecx, extended.edx | syscall}));
  if (!fused_off) {
    EXPECT_EQ(brand_of(leaves), brand_of(*dump));
  }

  // Leaf 12H: each sub-leaf that the dump shows with SGX on, else the report's.
  const auto report = GetParam().report != nullptr ? reported(GetParam().report) : std::map<u32, CpuidRegs>{};
  unsigned compared = 0;
  for (u32 subleaf = 0; subleaf <= 2; ++subleaf) {
    CpuidRegs real = dump->get(0x12, subleaf);
    if (real == CpuidRegs{} && report.contains(subleaf)) real = report.at(subleaf);
    if (real == CpuidRegs{}) continue;
    ++compared;
    if (subleaf == 2) {
      EXPECT_EQ(leaves.get(0x12, 2).ecx & 0xf, real.ecx & 0xf) << "the section's property";
    } else {
      EXPECT_EQ(leaves.get(0x12, subleaf), real) << subleaf;
    }
  }
  EXPECT_EQ(compared, fused_off ? 1u : GetParam().report == nullptr && sgx_state(*dump) != SgxState::offered ? 0u : 3u);
  EXPECT_EQ(sgx_state(leaves), SgxState::offered);
}

INSTANTIATE_TEST_SUITE_P(
    Silicon, Described,
    testing::Values(Source{"skylake-client", "GenuineIntel00506E3_Skylake_CPUID.txt", nullptr},
                    Source{"kabylake-client", "xps13-9370-cpuid-raw.txt", nullptr},
                    Source{"coffeelake-client", "GenuineIntel00906EC_CoffeeLake_CPUID4.txt", "Xeon E-2276G"},
                    Source{"icelake-client", "GenuineIntel00706E5_IceLakeY_CPUID.txt", nullptr},
                    Source{"icelake-server", "GenuineIntel00606A6_ICX_CPUID2.txt", "Xeon Gold 5315Y"},
                    Source{"sapphire-rapids", "GenuineIntel00806F8_SapphireRapids_05_CPUID.txt", "Sapphire Rapids"}),
    [](const auto& tested) {
      std::string name = tested.param.name;
      std::ranges::replace(name, '-', '_');
      return name;
    });

// What the generations are known for.
TEST(Descriptions, SayWhatEachGenerationBrought) {
  const auto has_feature = [](std::string_view silicon, std::string_view feature) {
    return has(described(silicon), *find_feature(feature));
  };
  for (const Description& d : descriptions()) {
    EXPECT_TRUE(has_feature(d.name, "sgx1")) << d.name;
    EXPECT_GE(d.attributes.ecx & 3, 3u) << d.name;
  }
  for (const char* sgx1_only : {"skylake-client", "kabylake-client", "coffeelake-client"}) {
    for (const char* later : {"sgx2", "sgx-exinfo", "sgx-kss", "sgx-oss", "sgx-aex-notify"}) {
      EXPECT_FALSE(has_feature(sgx1_only, later)) << sgx1_only << " " << later;
    }
  }
  EXPECT_FALSE(has_feature("skylake-client", "sgxlc"));
  EXPECT_FALSE(has_feature("kabylake-client", "sgxlc"));
  EXPECT_TRUE(has_feature("coffeelake-client", "sgxlc"));
  EXPECT_TRUE(has_feature("gemini-lake", "sgx2"));
  EXPECT_FALSE(has_feature("gemini-lake", "sgx-kss"));
  EXPECT_TRUE(has_feature("icelake-client", "sgx-oss"));
  EXPECT_TRUE(has_feature("icelake-server", "sgx-kss"));
  EXPECT_FALSE(has_feature("icelake-server", "sgx-oss"));
  EXPECT_TRUE(has_feature("sapphire-rapids", "sgx-edeccssa"));
}

TEST(Descriptions, AnUnknownNameGetsTheNearestAndAllOfThem) {
  EXPECT_THAT(unknown_description("skylake"), HasSubstr("did you mean 'skylake-client'?"));
  EXPECT_THAT(unknown_description("icelake"), HasSubstr("did you mean 'icelake-client' or 'icelake-server'?"));
  EXPECT_THAT(unknown_description("gemni-lake"), HasSubstr("did you mean 'gemini-lake'?"));
  EXPECT_THAT(unknown_description("epyc"), Not(HasSubstr("did you mean")));
  for (const Description& d : descriptions()) EXPECT_THAT(unknown_description("x"), HasSubstr(std::string(d.name)));
}

// SDM vol. 3D, 34.7: leaf 12H depends on what firmware enabled.
TEST(Descriptions, SgxIsOfferedSwitchedOffAbsentOrUnknown) {
  CpuidTable leaves = described("icelake-client");
  EXPECT_EQ(sgx_state(leaves), SgxState::offered);
  leaves.set(0x12, 0, {});
  EXPECT_EQ(sgx_state(leaves), SgxState::switched_off);
  leaves.set(7, 0, {});
  EXPECT_EQ(sgx_state(leaves), SgxState::absent);
  EXPECT_EQ(sgx_state(read_cpuid_dump(tests::instlat_dump)->cpus[0].table), SgxState::unknown);
  EXPECT_EQ(sgx_state({}), SgxState::absent);
}

TEST(Masking, NamesWhatOneHasAndTheOtherLacks) {
  const CpuidTable client = described("icelake-client"), server = described("icelake-server");
  const Masking masking = compare(server, client);
  EXPECT_THAT(masking.masked.sgx, ElementsAre("sgx-keys", "sgx-eupdatesvn", "enclaves of 2^47 bytes and more"));
  EXPECT_THAT(masking.hidden.sgx, ElementsAre("sgx-enclv", "sgx-oss"));
  EXPECT_THAT(masking.masked.other, Contains("smx"));
  EXPECT_EQ(compare(client, server).masked, masking.hidden);
  EXPECT_EQ(compare(client, client), Masking{});
}

TEST(Masking, NamesXsaveComponentsThatEnclavesMayHave) {
  CpuidTable plain = described("icelake-client");
  CpuidRegs attributes = plain.get(0x12, 1);
  attributes.ecx = 3;
  plain.set(0x12, 1, attributes);
  EXPECT_THAT(compare(described("icelake-client"), plain).masked.sgx,
              ElementsAre("avx in enclaves", "avx512 in enclaves", "pku in enclaves"));
}

// OSXSAVE and OSPKE follow CR4; HTT is topology; the width of MAWAU is no feature.
TEST(Masking, LeavesStatesAside) {
  CpuidTable one = described("icelake-client"), other = one;
  CpuidRegs version = one.get(1, 0), structured = one.get(7, 0);
  version.ecx ^= osxsave | 1u << 31;
  version.edx ^= 1u << 28;
  structured.ecx ^= 1u << 4 | 0x1fu << 17;
  other.set(1, 0, version);
  other.set(7, 0, structured);
  EXPECT_EQ(compare(one, other), Masking{});
}

TEST(Masking, GivesTheRegisterOfABitWithoutAName) {
  CpuidTable one = described("icelake-client"), other = one;
  CpuidRegs structured = one.get(7, 0);
  structured.edx |= 1;
  one.set(7, 0, structured);
  EXPECT_THAT(compare(one, other).masked.other, ElementsAre("bit 0 of EDX of leaf 0x7"));
}

TEST(Masking, SaysNothingOfLeaf12WhereItIsUnknown) {
  const CpuidTable unknown = read_cpuid_dump(tests::instlat_dump)->cpus[0].table;
  EXPECT_THAT(compare(unknown, described("icelake-client")).hidden.sgx, IsEmpty());
}

}  // namespace
}  // namespace cloister::policy
