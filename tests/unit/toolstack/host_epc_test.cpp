// The host's EPC, from processors that are made up: SDM vol. 2A, CPUID leaf 12H.
#include "machine/host_epc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace cloister::toolstack {
namespace {

using arch::CpuidRegs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Leaves = std::map<std::pair<u32, u32>, CpuidRegs>;

/// Two sections: 128 MiB at 0x40000000, 2 GiB at 0x1880000000.
Leaves with_sgx() {
  return {{{0, 0}, {0x20, 0, 0, 0}},
          {{7, 0}, {0, 0x4, 0, 0}},
          {{0x12, 0}, {0x3, 0, 0, 0x241f}},
          {{0x12, 1}, {0x36, 0, 0x3, 0}},
          {{0x12, 2}, {0x4000'0001, 0, 0x0800'0001, 0}},
          {{0x12, 3}, {0x8000'0001, 0x18, 0x8000'0001, 0}}};
}

Leaves without(Leaves leaves, u32 leaf, u32 subleaf) {
  leaves.erase({leaf, subleaf});
  return leaves;
}

Leaves with(Leaves leaves, u32 leaf, u32 subleaf, CpuidRegs regs) {
  leaves[{leaf, subleaf}] = regs;
  return leaves;
}

/// Processors numbered from 0, a package for each `per_package` of them; node = 10 + package.
HostEpc found(const std::vector<Leaves>& cpus, u32 per_package) {
  HostFacts facts;
  for (u32 n = 0; n < cpus.size(); ++n)
    facts.cpus.push_back({.number = n, .package = n / per_package, .node = 10 + n / per_package});
  facts.cpuid = [&](u32 cpu, u32 leaf, u32 subleaf) {
    const auto regs = cpus.at(cpu).find({leaf, subleaf});
    return regs == cpus.at(cpu).end() ? CpuidRegs{} : regs->second;
  };
  return host_epc(facts);
}

EpcSectionDescription section(u64 base, u64 bytes, u32 node) {
  return {.base = base, .bytes = bytes, .node = node, .faulty = {}};
}
const auto small_one = [](u32 node) { return section(0x4000'0000, 0x0800'0000, node); };
const auto large_one = [](u32 node) { return section(0x18'8000'0000, 0x8000'0000, node); };

TEST(HostEpc, SectionsGoToPackagesInTheirOrder) {
  const HostEpc host = found({with_sgx(), with_sgx(), with_sgx(), with_sgx()}, 2);
  EXPECT_TRUE(host.sgx);
  EXPECT_EQ(host.sgx_off, "");
  ASSERT_EQ(host.packages.size(), 2u);
  EXPECT_THAT(host.packages[0].epc, ElementsAre(small_one(10)));
  EXPECT_THAT(host.packages[1].epc, ElementsAre(large_one(11)));
}

TEST(HostEpc, SectionsOfOnePackageAreAllIts) {
  const HostEpc host = found({with_sgx(), with_sgx()}, 2);
  ASSERT_EQ(host.packages.size(), 1u);
  EXPECT_THAT(host.packages[0].epc, ElementsAre(small_one(10), large_one(10)));
}

TEST(HostEpc, TheListEndsAtTheFirstInvalidSubleaf) {
  const HostEpc host = found({without(with_sgx(), 0x12, 2)}, 1);
  EXPECT_EQ(host.sgx_off, "CPUID 12H enumerates no EPC section") << "sub-leaf 3 comes after the end";
}

TEST(HostEpc, SgxIsNotThereWithoutCpuidsBitOrSwitchedOffByFirmware) {
  const char* const absent = "the processors have no SGX, or a hypervisor hides it (CPUID 7.0 EBX bit 2 is 0)";
  const char* const disabled = "the processors have SGX, and firmware has not enabled it (CPUID 12H.0 EAX bit 0 is 0)";
  for (const auto& [cpu, reason] : {std::pair{Leaves{}, absent},
                                    {without(with_sgx(), 7, 0), absent},
                                    {without(with_sgx(), 0x12, 0), disabled},
                                    {with(with_sgx(), 0, 0, {0x11, 0, 0, 0}), absent}}) {
    const HostEpc host = found({cpu, cpu}, 1);
    EXPECT_FALSE(host.sgx);
    EXPECT_EQ(host.sgx_off, reason);
    for (const PackageDescription& package : host.packages) EXPECT_THAT(package.epc, IsEmpty());
  }
  EXPECT_FALSE(found({}, 1).sgx);
  EXPECT_EQ(found({}, 1).sgx_off, "no processor can be asked");
}

TEST(HostEpc, SgxIsOffWhereProcessorsDiffer) {
  struct Case {
    Leaves other;
    const char* reason;
  };
  const Case cases[] = {
      {without(with_sgx(), 7, 0), "processor 0 has SGX, processor 1 has not"},
      {without(with_sgx(), 0x12, 3), "processor 0 enumerates 2 EPC sections, processor 1 enumerates 1"},
      {with(with_sgx(), 0x12, 0, {0x1, 0, 0, 0x241f}), "CPUID 12H.0 differs between processors 0 and 1"},
      {with(with_sgx(), 0x12, 1, {0x36, 0, 0x7, 0}), "CPUID 12H.1 differs between processors 0 and 1"},
      {with(with_sgx(), 0x12, 3, {0x9000'0001, 0x18, 0x8000'0001, 0}),
       "CPUID 12H.3 differs between processors 0 and 1"},
  };
  for (const Case& c : cases) {
    const HostEpc host = found({with_sgx(), c.other, with_sgx()}, 1);
    EXPECT_TRUE(host.sgx);
    EXPECT_EQ(host.sgx_off, c.reason);
    for (const PackageDescription& package : host.packages) EXPECT_THAT(package.epc, IsEmpty());
  }
  EXPECT_EQ(found({without(with_sgx(), 7, 0), with_sgx()}, 2).sgx_off, "processor 1 has SGX, processor 0 has not");
}

TEST(HostEpc, ThisHostAnswersOnEveryProcessor) {
  const HostFacts facts = this_host();
  ASSERT_FALSE(facts.cpus.empty());
  for (const HostCpu& cpu : facts.cpus) {
    EXPECT_GE(facts.cpuid(cpu.number, 0, 0).eax, 1u);
    EXPECT_LT(cpu.package, facts.cpus.size());
  }
  const HostEpc host = host_epc(facts);
  const bool sections = std::ranges::any_of(host.packages, [](const auto& p) { return !p.epc.empty(); });
  EXPECT_NE(sections, !host.sgx_off.empty()) << host.sgx_off;
}

}  // namespace
}  // namespace cloister::toolstack
