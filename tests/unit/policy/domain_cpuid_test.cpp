// What a guest reads from CPUID (SDM vol. 2A, CPUID, table 3-8; vol. 3D, 37.7.2).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "arch/topology.hpp"
#include "policy/policy.hpp"
#include "unit/policy/processor.hpp"

namespace cloister::policy {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::Processor;

constexpr u64 mib = 1 << 20;

CpuidRequest with_epc() {
  CpuidRequest request;
  request.epc = {{0x1'4000'0000, 64 * mib}};
  return request;
}

CpuidTable domain(const CpuidRequest& request, const Processor& processor = {}) {
  auto table = domain_cpuid(processor, request);
  EXPECT_TRUE(table.has_value()) << (table ? "" : table.error());
  return table.value_or(CpuidTable{});
}

std::string refusal(const CpuidRequest& request, const Processor& processor = {}) {
  auto table = domain_cpuid(processor, request);
  EXPECT_FALSE(table.has_value());
  return table ? "" : table.error();
}

bool has(const CpuidTable& table, std::string_view name) {
  const Feature* feature = find_feature(name);
  EXPECT_NE(feature, nullptr) << name;
  return feature != nullptr && policy::has(table, *feature);
}

TEST(DomainCpuid, EpcSectionIsEncodedAsTable37_6Says) {
  const CpuidTable table = domain(with_epc());
  EXPECT_EQ(table.get(0x12, 2), (CpuidRegs{0x4000'0001, 0x1, 0x0400'0001, 0}));
  EXPECT_EQ(table.get(0x12, 3), CpuidRegs{}) << "the processor's second section is not the domain's";
}

// Confidentiality and integrity on clients, other encodings on servers (SDM vol. 3D, table 37-6, ECX[3:0]).
TEST(DomainCpuid, EpcSectionsAreProtectedAsTheProcessorsAre) {
  tests::Processor server;
  server.at(0x12, 2).ecx = 0x05f0'0002;
  const auto table = domain_cpuid(server, with_epc());
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->get(0x12, 2), (CpuidRegs{0x4000'0001, 0x1, 0x0400'0002, 0}));
}

TEST(DomainCpuid, EachEpcRangeIsASectionOfItsOwn) {
  CpuidRequest request = with_epc();
  request.epc.push_back({0x12'3456'7000, u64{5} << 32});
  const CpuidTable table = domain(request);
  EXPECT_EQ(table.get(0x12, 3), (CpuidRegs{0x3456'7001, 0x12, 0x1, 0x5}));
  EXPECT_EQ(table.get(0x12, 4), CpuidRegs{});
}

TEST(DomainCpuid, WithoutEpcThereIsNoTraceOfSgx) {
  const CpuidTable table = domain({});
  EXPECT_FALSE(has(table, "sgx"));
  EXPECT_FALSE(has(table, "sgxlc"));
  for (u32 subleaf = 0; subleaf < 8; ++subleaf) EXPECT_EQ(table.get(0x12, subleaf), CpuidRegs{}) << subleaf;
}

TEST(DomainCpuid, SgxOffTakesLaunchControlAndLeaf12WithIt) {
  CpuidRequest request = with_epc();
  request.overrides = {{"sgx", false}};
  const CpuidTable table = domain(request);
  EXPECT_FALSE(has(table, "sgxlc"));
  for (u32 subleaf = 0; subleaf < 8; ++subleaf) EXPECT_EQ(table.get(0x12, subleaf), CpuidRegs{}) << subleaf;
}

TEST(DomainCpuid, LaunchControlAloneCanBeSwitchedOff) {
  CpuidRequest request = with_epc();
  request.overrides = {{"sgxlc", false}};
  const CpuidTable table = domain(request);
  EXPECT_TRUE(has(table, "sgx"));
  EXPECT_FALSE(has(table, "sgx_lc"));
  EXPECT_NE(table.get(0x12, 2), CpuidRegs{});
}

TEST(DomainCpuid, Sgx2NeedsSgx1) {
  CpuidRequest request = with_epc();
  request.overrides = {{"sgx1", false}};
  EXPECT_EQ(domain(request).get(0x12, 0).eax & 0x3, 0u);
}

TEST(DomainCpuid, SgxFlagsOfAttributesCanBeSwitchedOff) {
  CpuidRequest request = with_epc();
  request.overrides = {{"sgx-provisionkey", false}, {"sgx-kss", false}};
  EXPECT_EQ(domain(request).get(0x12, 1).eax, 0x26u);
}

TEST(DomainCpuid, MaximumLeafBelow12MeansNoSgx) {
  Processor old;
  old.at(0).eax = 0xd;
  EXPECT_THAT(refusal(with_epc(), old), HasSubstr("does not have sgx"));
  EXPECT_EQ(domain({}, old).get(0x12, 0), CpuidRegs{});
}

TEST(DomainCpuid, EpcOnAProcessorWithoutSgxIsAnError) {
  Processor plain;
  plain.at(7).ebx &= ~4u;
  EXPECT_THAT(refusal(with_epc(), plain), HasSubstr("does not have sgx"));
}

/// A processor with AVX, whose state component is bit 2 of XCR0, 256 bytes at 576.
Processor with_avx() {
  Processor processor;
  processor.at(1).ecx |= 1u << 28;
  processor.at(0xd, 0) = {7, 832, 832, 0};
  processor.at(0xd, 1).ebx = 832;
  processor.at(0xd, 2) = {256, 576, 0, 0};
  processor.at(0x12, 1).ecx = 7;
  return processor;
}

TEST(DomainCpuid, XfrmAndXsaveAreaFollowTheDomainsFeatures) {
  CpuidRequest request = with_epc();
  EXPECT_EQ(domain(request, with_avx()).get(0x12, 1).ecx, 7u);
  EXPECT_EQ(domain(request, with_avx()).get(0xd, 0).ecx, 832u);
  EXPECT_EQ(domain(request, with_avx()).get(0xd, 1).ebx, 832u);

  request.overrides = {{"avx", false}};
  const CpuidTable table = domain(request, with_avx());
  EXPECT_EQ(table.get(0x12, 1).ecx, 3u);
  EXPECT_EQ(table.get(0xd, 0), (CpuidRegs{3, 576, 576, 0}));
  EXPECT_EQ(table.get(0xd, 1), (CpuidRegs{0xf, 576, 0, 0}));
  EXPECT_EQ(table.get(0xd, 2), CpuidRegs{});
}

/// And all that needs it.
TEST(DomainCpuid, AvxIsThereUnlessItIsSwitchedOff) {
  Processor processor = with_avx();
  processor.at(1).ecx |= 1u << 12;
  processor.at(7).ebx |= 1u << 5;
  CpuidRequest request = with_epc();
  EXPECT_EQ(domain(request, processor).get(1, 0).ecx & (1u << 28 | 1u << 12), 1u << 28 | 1u << 12);
  EXPECT_EQ(domain(request, processor).get(7, 0).ebx & (1u << 5), 1u << 5);
  request.overrides = {{"avx", false}};
  EXPECT_EQ(domain(request, processor).get(1, 0).ecx & (1u << 28 | 1u << 12), 0u) << "nor FMA";
  EXPECT_EQ(domain(request, processor).get(7, 0).ebx & (1u << 5), 0u) << "nor AVX2";
}

TEST(DomainCpuid, AvxOnAProcessorWithoutItIsAnError) {
  Processor processor;
  processor.at(1).ecx &= ~(1u << 28);
  CpuidRequest request = with_epc();
  request.overrides = {{"avx", true}};
  EXPECT_THAT(refusal(request, processor), HasSubstr("'avx' was asked for, but the processor does not have it"));
}

TEST(DomainCpuid, WithoutXsaveXfrmStillHasX87AndSse) {
  CpuidRequest request = with_epc();
  request.overrides = {{"xsave", false}};
  const CpuidTable table = domain(request);
  EXPECT_EQ(table.get(0x12, 1).ecx, 3u);
  EXPECT_EQ(table.get(0x12, 1).edx, 0u);
  EXPECT_EQ(table.get(0xd, 0), CpuidRegs{});
  EXPECT_EQ(table.get(0xd, 1), CpuidRegs{}) << "XSAVEOPT and its kin need XSAVE";
}

TEST(DomainCpuid, XfrmHasNothingThatTheProcessorDoesNotAllowInEnclaves) {
  Processor processor = with_avx();
  processor.at(0x12, 1).ecx = 3;
  const CpuidRequest request = with_epc();
  EXPECT_EQ(domain(request, processor).get(0x12, 1).ecx, 3u);
}

TEST(DomainCpuid, ApicIdAndTopologyAreTheDomains) {
  const CpuidTable table = domain({});
  EXPECT_EQ(table.get(1, 0).ebx, 0x00010800u) << "APIC ID 0, one logical processor, CLFLUSH line as the processor's";
  EXPECT_EQ(table.get(1, 0).edx & (1u << 28), 0u) << "HTT";
  EXPECT_EQ(table.get(4, 2).eax, 0x163u) << "one core, no sharing";
  EXPECT_EQ(table.get(0xb, 0), (CpuidRegs{0, 1, 0x100, 0}));
  EXPECT_EQ(table.get(0xb, 1), (CpuidRegs{0, 1, 0x201, 0}));
}

TEST(DomainCpuid, SeveralVcpusAreCoresOfOnePackage) {
  CpuidRequest request;
  request.vcpus = 3;
  request.apic_id = 2;
  const CpuidTable table = domain(request);
  EXPECT_EQ(table.get(1, 0).ebx, 0x02040800u);
  EXPECT_NE(table.get(1, 0).edx & (1u << 28), 0u) << "HTT";
  EXPECT_EQ(table.get(4, 0).eax >> 26, 3u);
  EXPECT_EQ((table.get(4, 0).eax >> 14) & 0xfff, 0u) << "a level 1 cache is private";
  EXPECT_EQ((table.get(4, 2).eax >> 14) & 0xfff, 3u) << "a level 3 cache is shared";
  EXPECT_EQ(table.get(0xb, 1), (CpuidRegs{2, 3, 0x201, 2}));
}

/// As SRAT has them in the nodes of their packages: what is of one package has the upper bits of its APIC IDs in
/// common.
TEST(DomainCpuid, SeveralPackagesHaveEachTheirIdsAndCaches) {
  const auto of = [](u32 vcpus, u32 packages) {
    CpuidRequest request;
    request.vcpus = vcpus;
    request.packages = packages;
    return domain(request);
  };
  const CpuidTable table = of(6, 2);
  EXPECT_EQ(table.get(1, 0).ebx >> 16 & 0xff, 4u);
  EXPECT_EQ((table.get(4, 2).eax >> 14) & 0xfff, 3u) << "a level 3 cache is the package's";
  EXPECT_EQ(table.get(0xb, 1), (CpuidRegs{2, 4, 0x201, 0}));
  const CpuidTable one_each = of(2, 2);
  EXPECT_EQ(one_each.get(1, 0).edx & (1u << 28), 0u) << "HTT";
  EXPECT_EQ(one_each.get(0xb, 1), (CpuidRegs{0, 1, 0x201, 0}));
  for (u32 vcpus = 1; vcpus <= 16; ++vcpus) {
    for (u32 packages = 1; packages <= 8; ++packages) {
      const u32 ids = arch::ids_of_package(vcpus, packages);
      EXPECT_TRUE(std::has_single_bit(ids));
      EXPECT_LT((vcpus - 1) / ids, packages) << "there is a package for each";
    }
  }
}

TEST(DomainCpuid, TopologyLevelThatDoesNotExistGivesItsNumberAndTheApicId) {
  CpuidRequest request;
  request.vcpus = 2;
  request.apic_id = 1;
  EXPECT_EQ(domain(request).get(0xb, 7), (CpuidRegs{0, 0, 7, 1}));
}

TEST(DomainCpuid, HypervisorLeafIsOurOwn) {
  const CpuidTable table = domain({});
  EXPECT_TRUE(has(table, "hypervisor"));
  const CpuidRegs leaf = table.get(0x4000'0000, 0);
  EXPECT_EQ(leaf.eax, 0x4000'0000u) << "no further leaves";
  char signature[13] = {};
  std::memcpy(signature, &leaf.ebx, 4);
  std::memcpy(signature + 4, &leaf.ecx, 4);
  std::memcpy(signature + 8, &leaf.edx, 4);
  EXPECT_STREQ(signature, "Cloister");
  EXPECT_EQ(table.get(0x4000'0001, 0), CpuidRegs{});
  EXPECT_EQ(table.get(0x4000'0100, 0), CpuidRegs{});
}

TEST(DomainCpuid, Cr4MirrorsStartClear) { EXPECT_EQ(domain({}).get(1, 0).ecx & (1u << 27), 0u) << "OSXSAVE"; }

TEST(DomainCpuid, LeavesBeyondTheMaximumAreZero) {
  const CpuidTable table = domain({});
  EXPECT_EQ(table.get(0x17, 0), CpuidRegs{});
  EXPECT_EQ(table.get(0x8000'0009, 0), CpuidRegs{});
  EXPECT_EQ(table.get(0xc000'0000, 0), CpuidRegs{});
}

TEST(DomainCpuid, LeavesWithoutSubleavesIgnoreTheSubleaf) {
  const CpuidTable table = domain({});
  EXPECT_EQ(table.get(0x15, 9), table.get(0x15, 0));
  EXPECT_NE(table.get(0x15, 9), CpuidRegs{});
  EXPECT_EQ(table.get(7, 1), CpuidRegs{});
}

TEST(DomainCpuid, PhysicalBitsMayBeFewerThanTheProcessorsButNotMore) {
  CpuidRequest request;
  EXPECT_EQ(domain(request).get(0x8000'0008, 0).eax, 0x302eu);
  request.physical_bits = 39;
  EXPECT_EQ(domain(request).get(0x8000'0008, 0).eax, 0x3027u);
  request.physical_bits = 47;
  EXPECT_THAT(refusal(request), AllOf(HasSubstr("47"), HasSubstr("46")));
}

TEST(DomainCpuid, WhatSwitchedOffFeaturesCarryGoesToo) {
  CpuidRequest request;
  request.overrides = {{"sse2", false}};
  const CpuidTable table = domain(request);
  for (const char* name : {"sse3", "ssse3", "sse4.1", "sse4.2", "pclmulqdq"}) EXPECT_FALSE(has(table, name)) << name;
  EXPECT_TRUE(has(table, "sse"));
  EXPECT_TRUE(has(table, "popcnt"));
}

TEST(DomainCpuid, ForcingOnWhatIsThereChangesNothing) {
  CpuidRequest request = with_epc();
  request.overrides = {{"sgx2", true}, {"sse4_2", true}};
  EXPECT_EQ(domain(request), domain(with_epc()));
}

struct Refusal {
  const char* what;
  bool epc;
  std::vector<CpuidOverride> overrides;
  std::vector<const char*> says;
};

TEST(DomainCpuid, RefusalsNameTheFeature) {
  const Refusal cases[] = {
      {"not in the processor", true, {{"avx512f", true}}, {"'avx512f'", "processor does not have it"}},
      {"needs EPC", false, {{"sgxlc", true}}, {"'sgxlc'", "EPC"}},
      {"ground switched off", true, {{"sgx", false}, {"sgxlc", true}}, {"'sgxlc'", "'sgx'", "off"}},
      {"deep ground", true, {{"sse", false}, {"sse4.2", true}}, {"'sse4.2'", "'sse'"}},
      {"unknown", false, {{"sgxcl", false}}, {"'sgxcl'", "did you mean 'sgxlc'"}},
      {"alias is named as written", true, {{"vmx", true}}, {"'vmx'"}},
  };
  for (const Refusal& c : cases) {
    CpuidRequest request = c.epc ? with_epc() : CpuidRequest{};
    request.overrides = c.overrides;
    const std::string error = refusal(request);
    for (const char* part : c.says) EXPECT_THAT(error, HasSubstr(part)) << c.what;
  }
}

}  // namespace
}  // namespace cloister::policy
