// What follows from a configuration: MSRs, EPC, and errors that stand at the key that asked for too much.
#include "plan/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "plan/interfaces.hpp"
#include "plan/package_values.hpp"
#include "silicon/silicon.hpp"
#include "unit/policy/processor.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

tl::expected<DomainPlan, Diagnostic> planned(const std::string& more) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\n" + more);
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  return make_plan(read ? read->config : DomainConfig{}, tests::Processor());
}

DomainPlan good(const std::string& more) {
  auto plan = planned(more);
  EXPECT_TRUE(plan.has_value()) << more << (plan ? "" : plan.error().message);
  return plan.value_or(DomainPlan{});
}

// SDM vol. 3D, 37.7.1: the hash MSRs are writable only with SGX_LC and bit 17 of IA32_FEATURE_CONTROL.
TEST(Plan, FeatureControlFollowsEpcLewrAndCpuid) {
  EXPECT_EQ(good("").msr.feature_control(), 0x1u);
  EXPECT_EQ(good("epc = 1").msr.feature_control(), 0x60001u);
  EXPECT_EQ(good("epc = 1\nlewr = 0").msr.feature_control(), 0x40001u);
  EXPECT_TRUE(good("epc = 1\nlewr = 0").msr.launch_control) << "SGX_LC stays exposed";
  EXPECT_EQ(good("epc = 1\ncpuid = 'host,sgxlc=0'").msr.feature_control(), 0x40001u);
  EXPECT_EQ(good("epc = 1\ncpuid = 'host,sgx=0'").msr.feature_control(), 0x1u);
}

TEST(Plan, LaunchKeyHashIsIntelsOrTheConfigurations) {
  EXPECT_THAT(good("epc = 1").msr.lepubkeyhash,
              ElementsAre(0xa6053e051270b7ac, 0x6cfbe8ba8b3b413d, 0xc4916d99f2b3735d, 0xd4f8c05909f9bb3b));
  const std::string hash =
      "0100000000000000"
      "0200000000000000"
      "0300000000000000"
      "0000000000000080";
  EXPECT_THAT(good("epc = 1\nlehash = '" + hash + "'").msr.lepubkeyhash, ElementsAre(1, 2, 3, u64{1} << 63));
}

constexpr const char* ones = "0101010101010101010101010101010101010101010101010101010101010101";
constexpr u64 one = 0x0101'0101'0101'0101;

silicon::Package::Config machine_with(LaunchControl state, std::optional<std::array<u64, 4>> hash = std::nullopt) {
  MachineDescription machine = default_machine();
  machine.launch_control = state;
  machine.launch_hash = hash;
  return package_config(package_values(machine, {}, {}), {{.package = 0, .extents = {{arch::Mfn{1}, 256}}}});
}

tl::expected<DomainPlan, Diagnostic> planned_on(const silicon::Package::Config& machine, const std::string& more) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\nepc = 1\n" + more);
  EXPECT_TRUE(read.has_value()) << more;
  const auto raw = [&](u32 leaf, u32 subleaf) { return silicon::Package::cpuid(machine, leaf, subleaf); };
  return make_plan(read ? read->config : DomainConfig{}, raw, {}, {}, machine_msrs(machine));
}

// The four cases of docs/machine.md: CPUID's SGX_LC, IA32_FEATURE_CONTROL and the hash of a domain that asks for
// nothing.
TEST(Plan, LaunchControlIsTheMachines) {
  const std::array<u64, 4> other{one, one, one, one};
  struct Case {
    LaunchControl state;
    std::optional<std::array<u64, 4>> machine;
    bool sgx_lc;
    u64 feature_control;
    std::array<u64, 4> hash;
  };
  for (const Case& c : {Case{LaunchControl::none, {}, false, 0x40001, arch::msr::intel_lepubkeyhash},
                        Case{LaunchControl::unwritable, {}, true, 0x40001, arch::msr::intel_lepubkeyhash},
                        Case{LaunchControl::locked, other, true, 0x40001, other},
                        Case{LaunchControl::unlocked, {}, true, 0x60001, arch::msr::intel_lepubkeyhash},
                        Case{LaunchControl::unlocked, other, true, 0x60001, arch::msr::intel_lepubkeyhash}}) {
    const auto plan = planned_on(machine_with(c.state, c.machine), "");
    ASSERT_TRUE(plan.has_value()) << name_of(c.state) << plan.error().message;
    EXPECT_EQ(plan->msr.launch_control, c.sgx_lc) << name_of(c.state);
    EXPECT_EQ(plan->cpuid.get(7, 0).ecx >> 30 & 1, c.sgx_lc) << name_of(c.state);
    EXPECT_EQ(plan->msr.feature_control(), c.feature_control) << name_of(c.state);
    EXPECT_EQ(plan->msr.lepubkeyhash, c.hash) << name_of(c.state);
  }
}

TEST(Plan, LaunchControlBeyondTheMachinesIsAnErrorAtItsKey) {
  const std::array<u64, 4> other{one, one, one, one};
  const std::string wants_other = std::string("lehash = '") + ones + "'";
  const auto intel_machine = machine_with(LaunchControl::unwritable),
             other_machine = machine_with(LaunchControl::locked, other), none = machine_with(LaunchControl::none),
             unlocked = machine_with(LaunchControl::unlocked);
  struct Case {
    const silicon::Package::Config* machine;
    std::string text;
    const char* message;  // null: there is none
  };
  for (const Case& c :
       {Case{&none, wants_other, "no launch control"}, Case{&none, "cpuid = 'host,sgxlc=1'", "sgxlc"},
        Case{&intel_machine, wants_other, "'lehash': the machine's launch-key hash is Intel's"},
        Case{&other_machine, wants_other, nullptr}, Case{&other_machine, "lewr = 1", "'lewr': "},
        Case{&other_machine, "lewr = 0", nullptr}, Case{&unlocked, wants_other + "\nlewr = 0", nullptr}}) {
    const auto plan = planned_on(*c.machine, c.text);
    EXPECT_EQ(plan.has_value(), c.message == nullptr) << c.text;
    if (plan || c.message == nullptr) continue;
    EXPECT_THAT(plan.error().message, HasSubstr(c.message));
    EXPECT_EQ(plan.error().at.line, 4u) << c.text;
  }
  const auto plan = planned_on(unlocked, wants_other + "\nlewr = 0");
  EXPECT_THAT(plan->msr.lepubkeyhash, ElementsAre(one, one, one, one));
  EXPECT_EQ(plan->msr.feature_control(), 0x40001u) << "the guest cannot write what the hypervisor could";
}

TEST(Plan, EpcLiesAboveRamAndFourGibibytesAndCpuidSaysWhere) {
  for (const char* text : {"epc = 64", "epc = 4096", "memory = 6000\nepc = 64", "memory = 16\nepc = 1"}) {
    const DomainPlan plan = good(text);
    ASSERT_EQ(plan.map.epc.size(), 1u) << text;
    const platform::EpcRange& epc = plan.map.epc[0];
    EXPECT_EQ(epc.bytes, plan.config.epc_mib() << 20) << text;
    EXPECT_GE(epc.base.value, u64{1} << 32) << text;
    for (const platform::MapEntry& entry : plan.map.entries) {
      if (entry.type != platform::MapType::ram) continue;
      EXPECT_GE(epc.base.value, entry.base.value + entry.bytes) << text;
    }
    const arch::CpuidRegs section = plan.cpuid.get(0x12, 2);
    EXPECT_EQ((u64{section.ebx} << 32) | (section.eax & ~0xfffu), epc.base.value) << text;
    EXPECT_EQ((u64{section.edx} << 32) | (section.ecx & ~0xfffu), epc.bytes) << text;
  }
}

/// Base and size of each section that CPUID enumerates (SDM vol. 2A, CPUID leaf 12H, sub-leaves 2 and up).
std::vector<std::pair<u64, u64>> enumerated(const DomainPlan& plan) {
  std::vector<std::pair<u64, u64>> sections;
  for (u32 subleaf = 2;; ++subleaf) {
    const arch::CpuidRegs r = plan.cpuid.get(0x12, subleaf);
    if ((r.eax & 0xf) != 1) return sections;
    sections.emplace_back((u64{r.ebx} << 32) | (r.eax & ~0xfffu), (u64{r.edx} << 32) | (r.ecx & ~0xfffu));
  }
}

TEST(Plan, EachEpcSectionIsEnumeratedAndInTheNodeOfItsPackage) {
  const DomainPlan plan = good("epc = ['size=64,package=3', 'size=32,package=1', 'size=1,package=3']");
  constexpr u64 base = u64{4} << 30, mib = 1 << 20;
  EXPECT_THAT(enumerated(plan), ElementsAre(std::pair(base, 64 * mib), std::pair(base + 64 * mib, 32 * mib),
                                            std::pair(base + 96 * mib, mib)));
  std::vector<u32> nodes;
  for (const platform::EpcRange& range : plan.map.epc) nodes.push_back(range.node);
  EXPECT_THAT(nodes, ElementsAre(1, 0, 1));
  EXPECT_EQ(good("epc = ['size=64,package=3']").map.epc[0].node, 0u) << "one package, one node";
}

TEST(Plan, TheMachinesChoiceOfPackagesMakesTheNodes) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\nepc = ['size=1', 'size=2,package=0']");
  ASSERT_TRUE(read.has_value());
  const auto plan = make_plan(read->config, tests::Processor(), std::array<u32, 2>{1, 0});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->map.epc.at(0).node, 1u);
  EXPECT_EQ(plan->map.epc.at(1).node, 0u);
}

TEST(Plan, DisksNeedABusWhoseMemoryLiesAboveAllElse) {
  EXPECT_FALSE(good("epc = 64").map.pci);
  const DomainPlan plan = good("epc = 64\ndisk = ['a,raw,xvda']");
  ASSERT_TRUE(plan.map.pci);
  EXPECT_GT(plan.map.pci->high, plan.map.epc.front().base);
}

TEST(Plan, InterfacesNeedABusAndHaveAddressesOfTheirOwn) {
  DomainConfig config = good("vif = ['type=user', 'type=user', 'type=user,mac=52:54:00:00:00:01']").config;
  EXPECT_TRUE(good("vif = ['type=user']").map.pci);
  EXPECT_EQ(mac_of(config, 2), (MacAddress{0x52, 0x54, 0, 0, 0, 1}));
  const MacAddress by_name = mac_of(config, 0);
  EXPECT_NE(by_name, mac_of(config, 1));
  EXPECT_EQ(by_name[0] & 3, 2) << "locally administered, of one interface";
  config.uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
  const MacAddress by_uuid = mac_of(config, 0);
  EXPECT_NE(by_uuid, by_name);
  config.name = "other";
  EXPECT_EQ(mac_of(config, 0), by_uuid) << "the uuid's, whatever its name becomes";
  EXPECT_EQ(by_uuid, (MacAddress{0x52, 0xd9, 0xc9, 0xd7, 0xd1, 0x97})) << "that of every version";
}

TEST(Plan, ASourceOfRandomBytesNeedsABus) {
  EXPECT_TRUE(good("rng = 1").map.pci);
  EXPECT_TRUE(good("virtio_console = 1").map.pci);
  EXPECT_FALSE(good("rng = 0").map.pci);
}

TEST(Plan, VsockNeedsABus) { EXPECT_TRUE(good("vsock = 'auto'").map.pci); }

TEST(Plan, WhatPasstIsToldOfAnInterface) {
  EXPECT_THAT(passt_arguments({}),
              ElementsAre("--mtu", "32000", "--no-map-gw", "--tcp-ports", "none", "--udp-ports", "none"));
  const InterfaceConfig all{.forwards = {{.udp = false, .address = "127.0.0.1", .host_port = 2222, .guest_port = 22},
                                         {.udp = true, .address = "::1", .host_port = 53, .guest_port = 54},
                                         {.udp = false, .address = "", .host_port = 80, .guest_port = 8080}},
                            .reaches_host = true};
  EXPECT_THAT(passt_arguments(all), ElementsAre("--mtu", "32000", "--tcp-ports", "127.0.0.1/2222:22", "--tcp-ports",
                                                "80:8080", "--udp-ports", "::1/53:54"));
}

TEST(Plan, ErrorsStandAtTheKeyThatAsked) {
  const auto no_feature = planned("epc = 1\ncpuid = 'host,avx512f=1'");
  ASSERT_FALSE(no_feature.has_value());
  EXPECT_EQ(no_feature.error().at, (Position{4, 9}));
  EXPECT_THAT(no_feature.error().message, HasSubstr("'avx512f'"));

  const auto no_epc = planned("cpuid = 'host,sgx=1'");
  ASSERT_FALSE(no_epc.has_value());
  EXPECT_EQ(no_epc.error().at, (Position{3, 9}));
  EXPECT_THAT(no_epc.error().message, HasSubstr("needs EPC"));
}

/// What pages EPC unseen is the processor's, and not every generation's.
TEST(Plan, EpcIsPagedByOssOnlyWhereThereIsOss) {
  tests::Processor with;
  with.at(0x12).eax |= 1u << 5 | 1u << 6;
  tests::Processor without_enclv;
  without_enclv.at(0x12).eax |= 1u << 6;
  const auto how = [](const tests::Processor& processor, const std::string& value, const std::string& min = "1") {
    const auto read =
        read_config("name = 'd'\nkernel = 'k'\nepc = 8\nepc_min = " + min + "\nepc_paging = '" + value + "'");
    EXPECT_TRUE(read.has_value());
    return make_plan(read->config, processor);
  };
  EXPECT_TRUE(how(with, "oss"));
  for (const tests::Processor& processor : {tests::Processor(), without_enclv}) {
    EXPECT_TRUE(how(processor, "trap"));
    EXPECT_TRUE(how(processor, "auto"));
    EXPECT_TRUE(how(processor, "oss", "8")) << "it is not paged";
    const auto refused = how(processor, "oss");
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().at, (Position{5, 14}));
    EXPECT_THAT(refused.error().message, AllOf(HasSubstr("'epc_paging'"), HasSubstr("found \"oss\""),
                                               HasSubstr("ENCLV"), HasSubstr("expected \"trap\"")));
  }
}

TEST(Plan, WhatTheAddressSpaceCannotHoldIsRefused) {
  tests::Processor small;
  small.at(0x8000'0008).eax = 36;
  const auto read = read_config("name = 'd'\nkernel = 'k'\nepc = 131072");
  ASSERT_TRUE(read.has_value());
  const auto plan = make_plan(read->config, small);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().at, (Position{3, 7}));
}

}  // namespace
}  // namespace cloister::toolstack
