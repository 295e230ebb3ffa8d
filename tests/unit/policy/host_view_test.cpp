// What hosts have of SGX, by leaves of real machines and by names (SDM vol. 2A, CPUID leaves 7 and 12H).
#include "policy/host_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/policy/dumps.hpp"
#include "unit/policy/known_dumps.hpp"
#include "unit/policy/named_bits.hpp"
#include "unit/policy/sgx_machines.hpp"

namespace cloister::policy {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

HostView host_of(std::string_view text) {
  HostView host;
  auto dump = read_cpuid_dump(text);
  EXPECT_TRUE(dump.has_value()) << (dump ? "" : dump.error().message);
  if (dump) host.cpus = std::move(dump->cpus);
  return host;
}

Known has(const HostView& host, std::string_view name) { return has(host, *find_feature(name)); }

EpcSectionView section(u64 base, u64 last, u8 property, std::optional<u32> node = std::nullopt) {
  return {.base = base, .bytes = last + 1 - base, .property = property, .node = node};
}

std::vector<std::string> rules(const SgxReport& report) {
  std::vector<std::string> names;
  for (const Finding& finding : report.findings) names.push_back(finding.rule);
  return names;
}

TEST(HostView, OnOtherMakersProcessorsNobodyIsToldOfIntelsFirmware) {
  const HostView amd = host_of(
      "CPU:\n 0x00000000 0x00: eax=0x00000010 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65\n"
      " 0x00000007 0x00: eax=0x00000000 ebx=0x219c91a9 ecx=0x00000000 edx=0x00000000\n");
  const SgxReport report = sgx_report(amd);
  ASSERT_THAT(rules(report), ElementsAre("no-sgx"));
  EXPECT_THAT(report.findings[0].message, HasSubstr("not Intel's"));
  EXPECT_THAT(report.findings[0].mend, HasSubstr("SEV"));
}

struct Machine {
  const char* text;
  SgxState state;
  Known launch_control;
  std::optional<std::vector<EpcSectionView>> sections;
  std::vector<std::string> rules;
  bool usable;
};

using Sections = std::vector<EpcSectionView>;

TEST(HostView, RealMachinesHaveWhatTheirOwnersSay) {
  const Machine machines[] = {
      {tests::raw_dump,
       SgxState::offered,
       Known::no,
       Sections{section(0x4020'0000, 0x45f7'ffff, 1)},
       {"no-launch-control"},
       true},
      {tests::aida_dump, SgxState::offered, Known::yes, Sections{section(0x3018'0000, 0x3bd7'ffff, 1)}, {}, true},
      {tests::instlat_dump, SgxState::offered, Known::yes, std::nullopt, {"cut-short"}, false},
      {tests::kaby_lake,
       SgxState::offered,
       Known::no,
       Sections{section(0x7020'0000, 0x75f7'ffff, 1)},
       {"no-launch-control"},
       true},
      {tests::ice_lake_server_off, SgxState::switched_off, Known::yes, Sections{}, {"firmware-disabled"}, false},
      {tests::skylake_off, SgxState::switched_off, Known::no, Sections{}, {"firmware-disabled"}, false},
      {tests::sapphire_rapids_workstation, SgxState::absent, Known::no, Sections{}, {"no-sgx"}, false},
      {tests::xeon_e_2276g, SgxState::offered, Known::yes, Sections{section(0x7020'0000, 0x75f7'ffff, 1)}, {}, true},
      {tests::xeon_gold_5315y,
       SgxState::offered,
       Known::yes,
       Sections{section(0x70'1800'0000, 0x7f'ff7f'ffff, 2)},
       {},
       true},
      {tests::two_xeon_gold_6354,
       SgxState::offered,
       Known::yes,
       Sections{section(0x80'00c0'0000, 0x80'7f7f'ffff, 2), section(0x100'00c0'0000, 0x100'7fff'ffff, 2)},
       {},
       true},
      {tests::kvm_guest, SgxState::offered, Known::yes, Sections{section(0x6'4000'0000, 0xc'0fff'ffff, 2)}, {}, true},
      {tests::sapphire_rapids_section,
       SgxState::unknown,
       Known::unknown,
       Sections{section(0x20'00c0'0000, 0x20'7edf'efff, 3)},
       {"cut-short"},
       false},
      {tests::macbook, SgxState::switched_off, Known::yes, Sections{}, {"firmware-disabled"}, false},
  };
  for (const Machine& machine : machines) {
    const HostView host = host_of(machine.text);
    const SgxReport report = sgx_report(host);
    EXPECT_EQ(report.state, machine.state) << machine.text;
    EXPECT_EQ(has(host, "sgxlc"), machine.launch_control) << machine.text;
    EXPECT_EQ(report.sections, machine.sections) << machine.text;
    EXPECT_EQ(rules(report), machine.rules) << machine.text;
    EXPECT_EQ(report.usable, machine.usable) << machine.text;
  }
}

TEST(HostView, TheReportHasLimitsXfrmAndNames) {
  const SgxReport report = sgx_report(host_of(tests::xeon_gold_5315y));
  EXPECT_EQ(report.xfrm, 0x2e7u);
  EXPECT_EQ(report.log2_size_32, 31);
  EXPECT_EQ(report.log2_size_64, 56);
  EXPECT_THAT(report.has, ElementsAre("sgx", "sgxlc", "sgx-keys", "sgx1", "sgx2", "sgx-eupdatesvn", "sgx-exinfo",
                                      "sgx-debug", "sgx-mode64", "sgx-provisionkey", "sgx-tokenkey", "sgx-kss"));
  EXPECT_THAT(report.lacks, Contains("sgx-aex-notify"));
  EXPECT_THAT(report.unknown, IsEmpty());
  EXPECT_EQ(report.launch, LaunchCase::unknown) << "a dump has no MSRs";
}

TEST(HostView, WhatADumpDoesNotShowIsUnknown) {
  const HostView host = host_of(tests::instlat_dump);
  EXPECT_EQ(has(host, "sgx1"), Known::yes);
  EXPECT_EQ(has(host, "sgx2"), Known::no);
  EXPECT_EQ(has(host, "sgx-debug"), Known::unknown) << "sub-leaf 1 of leaf 12H";
  EXPECT_EQ(has(host, "xsavec"), Known::unknown) << "leaf 0DH, below the maximum";
  const SgxReport report = sgx_report(host);
  EXPECT_THAT(report.findings, ElementsAre(Field(&Finding::message, HasSubstr("unknown, not absent"))));
  EXPECT_FALSE(report.findings[0].blocks);
  EXPECT_EQ(sgx_report(HostView{}).state, SgxState::unknown);
}

TEST(HostView, LeavesBeyondTheMaximumAreAbsent) {
  const HostView host = host_of(
      "0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69\n"
      "0x00000007 0x00: eax=0x00000000 ebx=0x00000004 ecx=0x00000000 edx=0x00000000\n");
  EXPECT_EQ(has(host, "sgx1"), Known::no);
  EXPECT_EQ(has(host, "lm"), Known::unknown) << "the extended leaves are another range";
  EXPECT_EQ(state_of(host), SgxState::switched_off);
  EXPECT_THAT(epc_of(host), Optional(IsEmpty()));
}

TEST(HostView, TheSectionsAreOneProcessorsAndEndAtAnInvalidSubleaf) {
  const std::string one = tests::xeon_e_2276g;
  std::string second = one;
  second.replace(0, 6, "CPU 1:");
  EXPECT_EQ(epc_of(host_of(one + second))->size(), 1u) << "each processor lists all sections";
  EXPECT_EQ(
      epc_of(host_of(one + "0x00000012 0x04: eax=0x80000001 ebx=0x00000000 ecx=0x05d80001 edx=0x00000000\n"))->size(),
      1u);
}

TEST(HostView, ProcessorsThatDifferAreAFinding) {
  std::string other = tests::xeon_e_2276g;
  other.replace(0, 6, "CPU 7:");
  other.replace(other.find("ecx=0x05d80001"), 14, "ecx=0x05d00001");
  const SgxReport report = sgx_report(host_of(tests::xeon_e_2276g + other));
  ASSERT_THAT(rules(report), ElementsAre("cpus-differ"));
  EXPECT_EQ(report.findings[0].message, "the SGX leaves of CPU 7 are not those of CPU 0");
  EXPECT_FALSE(report.usable);
  // One processor without it is enough for the host not to have it.
  std::string off = tests::macbook;
  off.replace(0, 6, "CPU 1:");
  const HostView mixed = host_of(tests::xeon_e_2276g + off);
  EXPECT_EQ(has(mixed, "sgx1"), Known::no);
  EXPECT_THAT(rules(sgx_report(mixed)), ElementsAre("cpus-differ"));
}

TEST(HostView, AGuestWithoutSgxIsSentToItsHypervisor) {
  std::string guest = tests::kvm_guest;
  guest.replace(guest.find("ebx=0xf03f07af"), 14, "ebx=0xf03f07ab");
  EXPECT_THAT(sgx_report(host_of(guest)).findings,
              ElementsAre(AllOf(Field(&Finding::rule, "no-sgx"), Field(&Finding::mend, HasSubstr("hypervisor")))));
}

// ------------------------------------------------------------------------------------------------ names

TEST(HostView, NamesAnswerWhereThereAreNoLeaves) {
  HostView host;
  host.source = "QEMU";
  host.named = tests::named_bits({{"sgx", true}, {"sgx1", true}, {"sgxlc", true}, {"sgx-provisionkey", false}});
  EXPECT_EQ(has(host, "sgx-lc"), Known::yes) << "an alias";
  EXPECT_EQ(has(host, "sgx-provision"), Known::no);
  EXPECT_EQ(has(host, "sgx-debug"), Known::unknown);
  EXPECT_EQ(epc_of(host), std::nullopt);
  EXPECT_THAT(rules(sgx_report(host)), ElementsAre("cut-short"));
  host.epc = Sections{{.base = std::nullopt, .bytes = 1 << 20, .property = 0, .node = 1}};
  EXPECT_TRUE(sgx_report(host).usable);
  host.named = tests::named_bits({{"sgx", false}});
  EXPECT_EQ(has(host, "sgx-debug"), Known::no);
  EXPECT_THAT(rules(sgx_report(host)), ElementsAre("not-offered"));
}

// ------------------------------------------------------------------------------------------------ this host

using Device = HostEnvironment::Device;
constexpr u64 locked = 1, lc = 1 << 17, on = 1 << 18;

/// Everything there, and unlocked.
HostView complete(const char* leaves = tests::xeon_e_2276g) {
  HostView host = host_of(leaves);
  host.environment = HostEnvironment{.enclave = Device::usable,
                                     .vepc = Device::usable,
                                     .provision = Device::usable,
                                     .kvm = Device::usable,
                                     .feature_control = locked | lc | on,
                                     .lepubkeyhash = arch::msr::intel_lepubkeyhash,
                                     .node_bytes = {{0, 0x05d8'0000}}};
  return host;
}

std::vector<std::string> rules_with(const std::function<void(HostEnvironment&)>& change) {
  HostView host = complete();
  change(*host.environment);
  return rules(sgx_report(host));
}

TEST(HostView, LaunchControlHasFourCases) {
  HostView host = complete();
  HostEnvironment& environment = *host.environment;
  EXPECT_EQ(launch_of(host), LaunchCase::unlocked);
  environment.feature_control = locked | on;
  EXPECT_EQ(launch_of(host), LaunchCase::unwritable);
  EXPECT_THAT(rules(sgx_report(host)), ElementsAre("launch-locked"));
  (*environment.lepubkeyhash)[3] ^= 1;
  EXPECT_EQ(launch_of(host), LaunchCase::locked);
  environment.lepubkeyhash.reset();
  EXPECT_EQ(launch_of(host), LaunchCase::unknown);
  environment.feature_control.reset();
  EXPECT_EQ(launch_of(host), LaunchCase::unlocked) << "Linux has /dev/sgx_enclave only where it can write the hash";
  environment.enclave = Device::absent;
  EXPECT_EQ(launch_of(host), LaunchCase::unknown);
  EXPECT_THAT(rules(sgx_report(host)), ElementsAre("launch-unknown"));
  EXPECT_TRUE(sgx_report(host).usable) << "none of this keeps guests from having SGX";
  EXPECT_EQ(launch_of(complete(tests::kaby_lake)), LaunchCase::none);
}

TEST(HostView, EachObstacleHasItsRuleAndWhatToDo) {
  EXPECT_THAT(rules(sgx_report(complete())), IsEmpty());
  EXPECT_TRUE(sgx_report(complete()).usable);
  using E = HostEnvironment;
  EXPECT_THAT(rules_with([](E& e) { e.vepc = Device::absent; }), ElementsAre("no-vepc"));
  EXPECT_THAT(rules_with([](E& e) { e.vepc = Device::refused; }), ElementsAre("vepc-refused"));
  EXPECT_THAT(rules_with([](E& e) { e.kvm = Device::absent; }), ElementsAre("no-kvm"));
  EXPECT_THAT(rules_with([](E& e) { e.kvm = Device::refused; }), ElementsAre("kvm-refused"));
  EXPECT_THAT(rules_with([](E& e) { e.provision = Device::absent; }), ElementsAre("no-provision"));
  EXPECT_THAT(rules_with([](E& e) { e.provision = Device::refused; }), ElementsAre("provision-refused"));
  EXPECT_THAT(rules_with([](E& e) { e.feature_control = lc | on; }), Contains("feature-control-unlocked"));
  EXPECT_THAT(rules_with([](E& e) { e.feature_control = locked | lc; }), ElementsAre("feature-control-off"));
  EXPECT_THAT(rules_with([](E& e) { e.node_bytes = {}; }), ElementsAre("no-node"));
  EXPECT_THAT(rules_with([](E& e) { e.node_bytes[0] -= 4096; }), ElementsAre("epc-bytes-differ", "no-node"));
  HostView broken = complete();
  broken.environment->provision = Device::absent;
  broken.environment->vepc = Device::refused;
  const SgxReport report = sgx_report(broken);
  EXPECT_THAT(rules(report), ElementsAre("vepc-refused", "no-provision")) << "what blocks comes first";
  EXPECT_FALSE(report.usable);
  EXPECT_THAT(report.findings[0].mend, AllOf(HasSubstr("udev"), HasSubstr("cgroup_device_acl")));
}

TEST(HostView, WithoutSgxNobodyMissesADevice) {
  for (const char* leaves : {tests::sapphire_rapids_workstation, tests::skylake_off}) {
    HostView host = complete(leaves);
    host.environment = HostEnvironment{};
    EXPECT_EQ(sgx_report(host).findings.size(), 1u);
  }
}

TEST(HostView, EpcThatIsEnabledAndEmptyIsAFinding) {
  std::string empty = tests::xeon_e_2276g;
  empty.replace(empty.find("eax=0x70200001"), 14, "eax=0x00000000");
  EXPECT_THAT(rules(sgx_report(host_of(empty))), ElementsAre("no-epc"));
}

TEST(HostView, SectionsLieOnTheNodesThatHaveTheirBytes) {
  const u64 first = 0x7ec0'0000, second = 0x7f40'0000;
  HostView host = complete(tests::two_xeon_gold_6354);
  const auto nodes = [&](std::map<u32, u64> bytes) {
    host.environment->node_bytes = std::move(bytes);
    std::vector<std::optional<u32>> found;
    const Sections sections = epc_of(host).value_or(Sections{});
    for (const EpcSectionView& s : sections) found.push_back(s.node);
    return found;
  };
  EXPECT_THAT(nodes({{0, first}, {1, second}}), ElementsAre(0u, 1u));
  EXPECT_THAT(nodes({{0, second}, {2, first}}), ElementsAre(2u, 0u));
  EXPECT_THAT(nodes({{0, first + second}, {1, 0}}), ElementsAre(0u, 0u)) << "the kernel's fallback is node 0";
  EXPECT_THAT(nodes({{0, first}, {1, first}}), ElementsAre(0u, std::nullopt));
  EXPECT_THAT(rules(sgx_report(host)), ElementsAre("epc-bytes-differ", "no-node"));
  EXPECT_THAT(nodes({}), ElementsAre(std::nullopt, std::nullopt));
}

// ------------------------------------------------------------------------------------------------ published dumps

TEST(HostView, PublishedDumpsSayTheSame) {
  struct Row {
    const char* file;
    SgxState state;
    LaunchCase launch;
    std::optional<std::vector<EpcSectionView>> sections;
  };
  const Row rows[] = {
      {"GenuineIntel00706E5_IceLakeY_CPUID.txt", SgxState::offered, LaunchCase::unknown,
       Sections{section(0x3018'0000, 0x3bd7'ffff, 1)}},
      {"GenuineIntel00806E9_Kabylake_CPUID2.txt", SgxState::offered, LaunchCase::none,
       Sections{section(0x7020'0000, 0x75f7'ffff, 1)}},
      {"GenuineIntel00906EC_CoffeeLake_CPUID4.txt", SgxState::offered, LaunchCase::unknown, std::nullopt},
      {"GenuineIntel00606A6_ICX_CPUID2.txt", SgxState::switched_off, LaunchCase::unknown, Sections{}},
      {"GenuineIntel00506E3_Skylake_CPUID.txt", SgxState::switched_off, LaunchCase::none, Sections{}},
      {"GenuineIntel00806F8_SapphireRapids_05_CPUID.txt", SgxState::absent, LaunchCase::none, Sections{}},
      {"xps13-9370-cpuid-raw.txt", SgxState::offered, LaunchCase::none, Sections{section(0x4020'0000, 0x45f7'ffff, 1)}},
  };
  for (const Row& row : rows) {
    const auto text = tests::known_dump(row.file);
    if (!text) GTEST_SKIP() << "no published dumps here";
    const SgxReport report = sgx_report(host_of(*text));
    EXPECT_EQ(report.state, row.state) << row.file;
    EXPECT_EQ(report.launch, row.launch) << row.file;
    EXPECT_EQ(report.sections, row.sections) << row.file;
    EXPECT_THAT(rules(report), Not(Contains("cpus-differ"))) << row.file;
  }
}

}  // namespace
}  // namespace cloister::policy
