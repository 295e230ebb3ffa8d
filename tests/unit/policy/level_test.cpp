// Checks and baselines over hosts as real processors make them, and rules that hold for any.
#include "policy/level.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "policy/cpuid_dump.hpp"
#include "policy/descriptions.hpp"
#include "policy/flags.hpp"
#include "unit/policy/named_bits.hpp"
#include "unit/policy/sgx_machines.hpp"

namespace cloister::policy {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

using Flags = std::vector<std::string>;

HostView described(std::string_view name) {
  HostView host;
  host.name = name;
  host.source = "CPUID";
  host.cpus.push_back({0, leaves_of(*find_description(name))});
  // EPC is the machine's, and without any no guest has SGX.
  if (state_of(host) == SgxState::offered)
    host.epc.emplace({EpcSectionView{.base = std::nullopt, .bytes = 64 << 20, .property = 1, .node = std::nullopt}});
  return host;
}

HostView dumped(const std::string& name, const char* text) {
  HostView host;
  host.name = name;
  host.source = "cpuid -r";
  host.cpus = read_cpuid_dump(text)->cpus;
  return host;
}

/// With MSRs as an administrator reads them.
HostView with_launch(HostView host, bool unlocked, std::array<u64, 4> hash = arch::msr::intel_lepubkeyhash) {
  namespace bits = arch::msr::feature_control_bits;
  host.environment.emplace();
  for (const auto device : {&HostEnvironment::vepc, &HostEnvironment::kvm, &HostEnvironment::provision})
    (*host.environment).*device = HostEnvironment::Device::usable;
  host.environment->feature_control = bits::lock | bits::sgx_enable | (unlocked ? bits::sgx_launch_control : 0);
  host.environment->lepubkeyhash = hash;
  return host;
}

/// Every feature that Cloister knows, and three models, the later ones newer.
CpuMap small_map() {
  CpuMap map = map_of_features();
  const Flags oldest{"fpu", "tsc", "msr", "pae", "cx8", "apic", "cmov", "mmx", "fxsr", "sse", "sse2", "lm", "nx"};
  Flags newer = oldest;
  newer.insert(newer.end(), {"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "aes", "xsave", "avx", "avx2"});
  Flags newest = newer;
  newest.insert(newest.end(), {"avx512f", "avx512bw", "gfni", "vaes"});
  map.models.push_back({"oldest", "", {}, oldest});
  map.models.push_back({"newer", "Intel", {0x506e0, 0x806e0, 0x906e0}, newer});
  map.models.push_back({"newest", "Intel", {0x706e0, 0x606a0, 0x806f0}, newest});
  return map;
}

Wish wish(const char* names) { return read_wish(names, small_map()); }

Check checked(const HostView& host, const Wish& wanted) {
  auto result = check(host, wanted, small_map());
  EXPECT_TRUE(result.has_value());
  return result ? *result : Check{};
}

const CheckedFlag& row(const Check& check, std::string_view name) {
  static const CheckedFlag none;
  for (const auto* const rows : {&check.flags, &check.rest}) {
    const auto found = std::ranges::find(*rows, name, &CheckedFlag::name);
    if (found != rows->end()) return *found;
  }
  ADD_FAILURE() << "no row " << name;
  return none;
}

const Migration& move(const Baseline& baseline, std::size_t from, std::size_t to) {
  return *std::ranges::find_if(baseline.migrations, [&](const Migration& m) { return m.from == from && m.to == to; });
}

// ------------------------------------------------------------------------------------------------ check

TEST(Check, NamesWhatAHostLacksAndWhatAGuestLoses) {
  const Check found = checked(described("skylake-client"), wish("sgx,sgxlc,sgx2"));
  EXPECT_EQ(found.all, Known::no);
  EXPECT_EQ(row(found, "sgx").here, Known::yes);
  EXPECT_EQ(row(found, "sgx").place, "leaf 0x7, sub-leaf 0, EBX bit 2");
  EXPECT_EQ(row(found, "sgxlc").here, Known::no);
  EXPECT_EQ(row(found, "sgxlc").consequence, find_sgx_flag("sgxlc")->without);
  EXPECT_EQ(row(found, "sgx2").here, Known::no);
  EXPECT_THAT(row(found, "sgx").consequence, IsEmpty());
}

TEST(Check, TakesEveryToolsSpelling) {
  // Linux writes sgx_lc, libvirt sgxlc; the table has one flag.
  for (const char* const names : {"sgx_lc", "SGX_LC", "sgxlc", "+sgxlc", "sgxlc=on", " sgxlc , "}) {
    EXPECT_EQ(row(checked(described("coffeelake-client"), wish(names)), "sgxlc").here, Known::yes) << names;
  }
  const Check found = checked(described("coffeelake-client"), wish("newer,sgx=on,-avx2"));
  EXPECT_EQ(row(found, "newer").here, Known::yes);
  EXPECT_EQ(row(found, "newer").place, "CPU model, 21 features");
}

TEST(Check, SaysThatEnclavesNeedSgx1WhereNobodyAsked) {
  const Check found = checked(dumped("off", tests::ice_lake_server_off), wish("sgx,sgxlc"));
  EXPECT_EQ(row(found, "sgx").here, Known::no) << "no guest can have it";
  EXPECT_TRUE(row(found, "sgx1").implied);
  EXPECT_EQ(row(found, "sgx1").here, Known::no);
  EXPECT_THAT(row(found, "sgx1").why, HasSubstr("switched off in the firmware"));
  EXPECT_EQ(found.all, Known::no);
}

TEST(Check, SaysWhatAMissingFlagTakesAlong) {
  const Check found = checked(dumped("off", tests::skylake_off), wish("sgx,sgx1,sgx-debug,sgx-provisionkey"));
  EXPECT_THAT(row(found, "sgx1").takes_along, ElementsAre("sgx-debug", "sgx-provisionkey"));
  EXPECT_THAT(row(found, "sgx-debug").takes_along, IsEmpty());
}

TEST(Check, NamesAnUnknownFlagWithTheNearest) {
  const auto found = check(described("icelake-client"), wish("sgx,sgxlx,sgx-provisonkey,fnord-fnord"), small_map());
  ASSERT_FALSE(found.has_value());
  ASSERT_EQ(found.error().size(), 3u);
  EXPECT_EQ(found.error()[0].name, "sgxlx");
  EXPECT_THAT(found.error()[0].nearest, Contains("sgxlc"));
  EXPECT_LE(found.error()[0].nearest.size(), 3u);
  EXPECT_EQ(found.error()[1].nearest.front(), "sgx-provisionkey");
  EXPECT_THAT(message_of(found.error()[1]),
              HasSubstr("unknown CPU flag 'sgx-provisonkey', did you mean 'sgx-provisionkey'"));
  for (const UnknownName& unknown : found.error()) EXPECT_THAT(message_of(unknown), Not(HasSubstr("memory")));
  const auto model =
      check(described("icelake-client"), Wish{.flags = {}, .without = {}, .model = "newes", .launch = {}}, small_map());
  ASSERT_FALSE(model.has_value());
  EXPECT_EQ(message_of(model.error()[0]), "unknown CPU model 'newes', did you mean 'newer' or 'newest'?");
}

TEST(Check, SearchesWordsLikeTheFirstUnknownOnesOnly) {
  Wish wish;
  for (int i = 0; i < 40; ++i) wish.flags.push_back("sgxlcx" + std::string(static_cast<std::size_t>(i) % 3, 'x'));
  const auto checked = check(HostView{}, wish, map_of_features());
  ASSERT_FALSE(checked.has_value());
  EXPECT_FALSE(checked.error().front().nearest.empty());
  EXPECT_TRUE(checked.error().at(16).nearest.empty());
}

TEST(Check, TellsUnknownFromAbsent) {
  // The report shows neither leaf 0 nor sub-leaf 1 of leaf 12H.
  const Check found = checked(dumped("gold", tests::two_xeon_gold_6354), wish("sgx2,sgx-provisionkey"));
  EXPECT_EQ(row(found, "sgx2").here, Known::yes);
  EXPECT_EQ(row(found, "sgx-provisionkey").here, Known::unknown);
  EXPECT_EQ(found.all, Known::unknown);
}

// As libvirt's cpu-compare has it.
TEST(Check, HoldsWhatIsForbiddenAgainstAHostAndWhatIsBeyond) {
  const HostView host = described("icelake-server");
  Wish wanted{.flags = {"avx2"}, .without = {}, .model = "oldest", .launch = {}};
  wanted.forbidden = {"vmx", "sgx"};
  wanted.vendor = "Intel";
  const Check found = checked(host, wanted);
  EXPECT_EQ(row(found, "no sgx").here, Known::no);
  EXPECT_EQ(row(found, "a processor of Intel's").here, Known::yes);
  EXPECT_EQ(found.all, Known::no);
  wanted.vendor = "AMD";
  EXPECT_EQ(row(checked(host, wanted), "a processor of AMD's").here, Known::no);

  CpuMap map;
  map.features = {{.name = "avx2", .cpuid = bits_of(*find_feature("avx2"))},
                  {.name = "aes", .cpuid = bits_of(*find_feature("aes"))}};
  const auto strict = [&](const char* names) {
    Wish wish = read_wish(names, map);
    wish.strict = true;
    return check(host, wish, map)->all;
  };
  EXPECT_EQ(strict("avx2"), Known::no);
  EXPECT_EQ(strict("avx2,aes"), Known::yes);
  EXPECT_EQ(strict("avx2,-aes"), Known::yes) << "what is disabled, optional or forced may be there";
  wanted.without = {"no-such-flag"};
  EXPECT_FALSE(check(host, wanted, small_map()).has_value()) << "an unknown one is refused under any policy";
}

TEST(Check, WithoutModelsAModelIsUnknownAndNoFlag) {
  const CpuMap map = map_of_features();
  const Wish wanted = read_wish("Skylake-Client-IBRS,sgx", map);
  EXPECT_EQ(wanted.model, "Skylake-Client-IBRS");
  const auto found = check(described("icelake-server"), wanted, map);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->rest.front().here, Known::unknown);
  EXPECT_EQ(found->all, Known::unknown);
  EXPECT_TRUE(read_wish("SGX,AVX2", map).model.empty());
  EXPECT_TRUE(read_wish("sgxlx", map).model.empty());
}

TEST(Check, KnowsWordsOfLibvirtsThatNoMapHas) {
  const Check found = checked(described("icelake-server"), wish("rdctl-no,-vmx-ept,osxsave"));
  EXPECT_EQ(row(found, "rdctl-no").here, Known::unknown);
  EXPECT_EQ(row(found, "rdctl-no").why, "nobody read this MSR");
  EXPECT_EQ(row(found, "osxsave").place, "leaf 0x1, sub-leaf 0");
}

TEST(Check, LooksAtLimitsAndLaunchControl) {
  Wish wanted;
  wanted.flags = {"sgx"};
  wanted.xfrm = 0xe7;
  wanted.log2_size_64 = 47;
  wanted.launch.writable = true;
  wanted.epc_bytes = u64{64} << 20;
  Check found = checked(with_launch(dumped("e2276g", tests::xeon_e_2276g), false), wanted);
  EXPECT_THAT(row(found, "XFRM 0xe7").why, HasSubstr("avx512"));
  EXPECT_EQ(row(found, "64-bit enclaves of 2^47 bytes").why, "2^36 bytes at most");
  EXPECT_EQ(row(found, "launch-key hash for the guest to write").here, Known::no);
  EXPECT_EQ(row(found, "EPC of 64 MiB").here, Known::yes);

  wanted = {.flags = {"sgx"}, .without = {}, .model = {}, .launch = {.hash = {{1, 2, 3, 4}}, .writable = {}}};
  const auto hash_on = [&](const HostView& host) { return row(checked(host, wanted), "launch-key hash").here; };
  const HostView xeon = dumped("e2276g", tests::xeon_e_2276g);
  EXPECT_EQ(hash_on(xeon), Known::unknown);
  EXPECT_EQ(hash_on(with_launch(xeon, true)), Known::yes);
  EXPECT_EQ(hash_on(with_launch(xeon, false)), Known::no);
  EXPECT_EQ(hash_on(with_launch(xeon, false, {1, 2, 3, 4})), Known::yes);
  EXPECT_EQ(hash_on(dumped("kaby", tests::kaby_lake)), Known::no);
}

TEST(Check, SaysThatKvmHidesALockedLaunchControl) {
  const HostView xeon = dumped("e2276g", tests::xeon_e_2276g);
  const Check locked = checked(with_launch(xeon, false), wish("sgxlc"));
  EXPECT_EQ(row(locked, "sgxlc").here, Known::yes) << "Cloister's guests can have it";
  EXPECT_THAT(row(locked, "sgxlc").why, HasSubstr("firmware locked the hash"));
  EXPECT_THAT(row(checked(with_launch(xeon, true), wish("sgxlc")), "sgxlc").why, IsEmpty());
}

// ------------------------------------------------------------------------------------------------ baseline

TEST(Baseline, OfTwoGenerationsIsWhatTheOlderHas) {
  const HostView hosts[] = {described("skylake-client"), described("icelake-client")};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_THAT(found.sgx.flags,
              ElementsAre("sgx", "sgx1", "sgx-debug", "sgx-mode64", "sgx-provisionkey", "sgx-tokenkey"));
  // 0x1f and 0x2e7: MPX is only in the older, AVX-512 and PKU only in the newer.
  EXPECT_EQ(found.sgx.xfrm, 0x7u);
  EXPECT_EQ(found.sgx.log2_size_64, 36);
  ASSERT_TRUE(found.cpu);
  EXPECT_EQ(found.cpu->model, "newer");
  EXPECT_EQ(found.cpu->vendor, "Intel");
  EXPECT_THAT(found.cpu->required, IsSupersetOf({"sgx", "rdseed", "sgx-mode64"}));
  EXPECT_THAT(found.cpu->disabled, IsEmpty());
}

TEST(Baseline, SaysWhichHostCostsWhichFlag) {
  const HostView hosts[] = {described("icelake-server"), described("skylake-client"), described("coffeelake-client")};
  const Baseline found = baseline(hosts, small_map());
  const auto cost = [&](std::string_view flag) {
    const auto at = std::ranges::find(found.costs, flag, &Cost::flag);
    return at == found.costs.end() ? std::vector<std::size_t>{} : at->without;
  };
  EXPECT_THAT(cost("sgxlc"), ElementsAre(1u));
  EXPECT_THAT(cost("sgx2"), ElementsAre(1u, 2u));
  EXPECT_THAT(cost("sgx1"), IsEmpty());
  EXPECT_THAT(cost("sgx-aex-notify"), IsEmpty()) << "nobody has it, so it costs nobody";
  EXPECT_THAT(cost("XFRM mpx"), ElementsAre(0u));
  EXPECT_THAT(cost("XFRM avx512"), ElementsAre(1u, 2u));
  EXPECT_THAT(cost("64-bit enclaves of 2^56 bytes"), ElementsAre(1u, 2u));
  EXPECT_THAT(cost("32-bit enclaves of 2^31 bytes"), IsEmpty());
  EXPECT_TRUE(found.costs.front().sgx) << "SGX first";
}

TEST(Baseline, GivesNoSgxWithoutSgx1AndSaysWhoseFault) {
  const HostView hosts[] = {described("icelake-server"), dumped("off", tests::ice_lake_server_off),
                            dumped("workstation", tests::sapphire_rapids_workstation)};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_THAT(found.sgx.flags, IsEmpty());
  EXPECT_THAT(found.no_sgx, ElementsAre("off: SGX is switched off in its firmware", "workstation: no SGX"));
  EXPECT_EQ(found.no_cpu, "workstation does not tell its CPU's features");
  const Baseline two = baseline(std::span(hosts, 2), small_map());
  ASSERT_TRUE(two.cpu);
  EXPECT_THAT(two.cpu->required, Not(Contains(HasSubstr("sgx"))));
}

TEST(Baseline, DoesNotGrantWhatAHostDoesNotTell) {
  const HostView hosts[] = {dumped("gold", tests::xeon_gold_5315y), dumped("stops short", tests::two_xeon_gold_6354)};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_THAT(found.sgx.flags, Contains("sgx2"));
  EXPECT_THAT(found.sgx.flags, Not(Contains("sgx-kss")));
  const auto kss = std::ranges::find(found.costs, "sgx-kss", &Cost::flag);
  ASSERT_NE(kss, found.costs.end());
  EXPECT_THAT(kss->unknown, ElementsAre(1u));
  EXPECT_THAT(kss->without, IsEmpty());
  EXPECT_EQ(found.sgx.xfrm, 0u) << "not known";
  // One section of 0xfe7800000 bytes, two of 0x7ec00000 and 0x7f400000.
  EXPECT_EQ(found.epc_bytes, u64{0x7ec0'0000} + 0x7f40'0000);
  EXPECT_EQ(found.epc_property, u8{2});
}

TEST(Baseline, LevelsLaunchControlCaseByCase) {
  using Hash = LaunchInCommon::Hash;
  const HostView xeon = dumped("xeon", tests::xeon_e_2276g), kaby = dumped("kaby", tests::kaby_lake);
  const std::array<u64, 4> own{1, 2, 3, 4}, other{5, 6, 7, 8};
  const auto launch = [](std::vector<HostView> hosts) { return baseline(hosts, small_map()).sgx.launch; };
  const HostView open = with_launch(xeon, true), intel = with_launch(xeon, false),
                 locked = with_launch(xeon, false, own);
  const auto intels = arch::msr::intel_lepubkeyhash;
  EXPECT_EQ(launch({open, open}), (LaunchInCommon{Hash::any, intels, true}));
  EXPECT_EQ(launch({open, intel}), (LaunchInCommon{Hash::one, intels, false}));
  EXPECT_EQ(launch({open, kaby}), (LaunchInCommon{Hash::one, intels, false}));
  EXPECT_EQ(launch({open, locked}), (LaunchInCommon{Hash::one, own, false}));
  EXPECT_EQ(launch({intel, locked}), (LaunchInCommon{Hash::none, intels, false}));
  EXPECT_EQ(launch({with_launch(xeon, false, other), locked}).hash, Hash::none);
  EXPECT_EQ(launch({open, xeon}), (LaunchInCommon{Hash::unknown, intels, false}));
  EXPECT_EQ(launch({intel, locked, xeon}).hash, Hash::none) << "the third host changes nothing";
}

TEST(Baseline, ComparesEpc) {
  const HostView hosts[] = {dumped("kaby", tests::kaby_lake), dumped("gold", tests::xeon_gold_5315y)};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_EQ(found.epc_bytes, u64{0x5d8'0000});
  EXPECT_EQ(found.epc_property, std::nullopt) << "1 and 2";
}

// ------------------------------------------------------------------------------------------------ moves

TEST(Moves, AreSafeOnlyToWhereNothingIsMissing) {
  const HostView hosts[] = {dumped("kaby", tests::kaby_lake), with_launch(dumped("xeon", tests::xeon_e_2276g), true),
                            dumped("gold", tests::xeon_gold_5315y)};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_EQ(found.migrations.size(), 6u);
  // The Xeon has all that Kaby Lake has, and launch control besides.
  EXPECT_THAT(move(found, 0, 1).lost, Not(Contains(HasSubstr("sgx"))));
  EXPECT_THAT(move(found, 1, 0).lost, IsSupersetOf({"sgxlc", "XFRM avx", "a launch-key hash of its own"}));
  EXPECT_EQ(move(found, 1, 0).safe, Known::no);
  EXPECT_THAT(move(found, 0, 2).lost, Contains("EPC of property 1"));
  EXPECT_THAT(move(found, 2, 0).lost,
              IsSupersetOf({"sgx2", "64-bit enclaves of 2^56 bytes", "EPC of 65144 MiB (there 93 MiB)"}));
}

TEST(Moves, BetweenEqualHostsAreSafe) {
  const HostView xeon = with_launch(dumped("xeon", tests::xeon_e_2276g), true);
  const HostView hosts[] = {xeon, xeon};
  for (const Migration& m : baseline(hosts, small_map()).migrations) {
    EXPECT_EQ(m.safe, Known::yes) << ::testing::PrintToString(m.lost) << ::testing::PrintToString(m.unknown);
  }
}

TEST(Moves, AreUnknownWhereAHostDoesNotTell) {
  const HostView hosts[] = {dumped("gold", tests::xeon_gold_5315y), dumped("stops short", tests::two_xeon_gold_6354)};
  const Baseline found = baseline(hosts, small_map());
  const Migration& there = move(found, 0, 1);
  EXPECT_THAT(there.unknown, IsSupersetOf({"sgx-kss", "XFRM", "the launch-key hash"}));
}

// ------------------------------------------------------------------------------------------------ models

TEST(Models, BrokenTsxIsNotPromised) {
  // Intel's erratum HSD136: Haswell's TSX, though CPUID reports it.
  HostView haswell = described("coffeelake-client");
  CpuidRegs version = haswell.cpus[0].table.get(1, 0);
  version.eax = 0x306c3;
  haswell.cpus[0].table.set(1, 0, version);
  const HostView hosts[] = {haswell};
  EXPECT_THAT(baseline(hosts, small_map()).cpu->required, Not(Contains("rtm")));
  const HostView coffee_lake[] = {described("coffeelake-client")};
  EXPECT_THAT(baseline(coffee_lake, small_map()).cpu->required, Contains("rtm"));
}

TEST(Models, AModelForHostsOnlyIsNoBaseline) {
  CpuMap map = small_map();
  map.models.back().for_guest = false;
  const HostView hosts[] = {described("icelake-client")};
  const Baseline found = baseline(hosts, map);
  EXPECT_EQ(found.hosts[0].cpu->model, "newest");
  EXPECT_EQ(found.cpu->model, "newer");
}

TEST(Models, AHostHasTheNameThatAToolGaveIt) {
  // As `virsh domcapabilities` describes a host: a model, what it has beyond, and what it lacks.
  HostView host;
  host.name = "named";
  host.model = "newest";
  host.named = tests::named_bits({{"sgx", true}, {"sgx1", true}, {"gfni", false}});
  const HostView hosts[] = {host};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_EQ(found.hosts[0].cpu, (NamedCpu{"Intel", "newest", {"sgx", "sgx1"}, {"gfni"}}));
  EXPECT_EQ(found.cpu, found.hosts[0].cpu);
  EXPECT_THAT(found.sgx.flags, ElementsAre("sgx", "sgx1"));
}

TEST(Models, AHostThatTellsOfSgxAloneHasNoCpu) {
  // QEMU's answer to query-sgx-capabilities.
  HostView host;
  host.name = "qmp";
  host.named = tests::named_bits({{"sgx", true}, {"sgx1", true}, {"lm", true}});
  const HostView hosts[] = {described("icelake-server"), host};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_FALSE(found.cpu);
  EXPECT_EQ(found.no_cpu, "qmp does not tell its CPU's features");
  EXPECT_THAT(found.sgx.flags, ElementsAre("sgx", "sgx1"));
}

TEST(Models, AnExcerptOfADumpIsRead) {
  const HostView excerpt = dumped("excerpt", "CPU:\n   0x00000001 0x00: eax=0x0 ebx=0x0 ecx=0x1 edx=0x0\n");
  const CpuMap map = small_map();
  const MappedCpu cpu = map_cpu(excerpt, map);
  const auto known = [&](std::string_view name) {
    return cpu.features[static_cast<std::size_t>(map.find_feature(name) - map.features.data())];
  };
  EXPECT_EQ(known("sse3"), Known::yes) << "without leaf 0";
  EXPECT_EQ(known("ssse3"), Known::no);
  EXPECT_EQ(known("avx2"), Known::unknown);
}

TEST(Models, VendorsMustAgree) {
  HostView amd = described("icelake-server");
  amd.name = "amd";
  amd.cpus[0].table.set(0, 0, {0x10, 0x68747541, 0x444d4163, 0x69746e65});
  const HostView hosts[] = {described("icelake-server"), amd};
  const Baseline found = baseline(hosts, small_map());
  EXPECT_FALSE(found.cpu);
  EXPECT_EQ(found.no_cpu, "the vendors differ: icelake-server is Intel's, amd is AMD's");
}

TEST(Models, WhatMayNotMoveIsNotInABaseline) {
  CpuMap map = small_map();
  const auto invtsc = std::ranges::find(map.features, "xsaves", &MapFeature::name);
  ASSERT_NE(invtsc, map.features.end());
  invtsc->migratable = false;
  const HostView hosts[] = {described("icelake-server"), described("skylake-client")};
  const Baseline found = baseline(hosts, map);
  EXPECT_THAT(found.cpu->required, Not(Contains("xsaves")));
  EXPECT_THAT(found.immovable, ElementsAre("xsaves"));
}

// ------------------------------------------------------------------------------------------------ any hosts

/// Random hosts: real ones with some bits cleared, some leaves not shown, and MSRs read or not.
class Pools : public ::testing::TestWithParam<u32> {
 protected:
  HostView host() {
    const auto all = descriptions();
    HostView made = described(all[pick(all.size())].name);
    CpuidTable table;
    for (const auto& [where, regs] : made.cpus[0].table.leaves()) {
      if (where.first != 0 && where.first != 0x8000'0000 && pick(12) == 0) continue;
      CpuidRegs kept = regs;
      const bool words = where.first == 1 || where.first == 7 || where.first == 0x12;
      if (words && pick(2) == 0) {
        for (u32* const reg : {&kept.eax, &kept.ebx, &kept.ecx, &kept.edx}) {
          if (where.first == 1 && reg == &kept.eax) continue;
          if (where.first == 7 && reg == &kept.eax) continue;
          *reg &= ~(random_() & random_() & random_());
        }
      }
      table.set(where.first, where.second, kept);
    }
    made.cpus[0].table = table;
    if (pick(2) == 0) made = with_launch(made, pick(2) == 0, pick(2) == 0 ? arch::msr::intel_lepubkeyhash : own_);
    return made;
  }
  std::vector<HostView> pool() {
    std::vector<HostView> hosts;
    for (std::size_t n = 1 + pick(4); n > 0; --n) hosts.push_back(host());
    return hosts;
  }
  std::size_t pick(std::size_t below) { return random_() % below; }

  const CpuMap map_ = small_map();
  std::mt19937 random_{GetParam()};
  const std::array<u64, 4> own_{1, 2, 3, 4};
};

TEST_P(Pools, EveryHostPassesTheCheckOfItsBaseline) {
  for (int round = 0; round < 20; ++round) {
    const auto hosts = pool();
    const Baseline found = baseline(hosts, map_);
    for (const HostView& host : hosts) {
      const auto result = check(host, wish_of(found), map_);
      ASSERT_TRUE(result.has_value()) << message_of(result.error()[0]);
      for (const auto* const rows : {&result->flags, &result->rest}) {
        for (const CheckedFlag& r : *rows) EXPECT_EQ(r.here, Known::yes) << host.name << ' ' << r.name << ' ' << r.why;
      }
    }
  }
}

TEST_P(Pools, OneMoreHostNeverAddsAnything) {
  for (int round = 0; round < 20; ++round) {
    auto hosts = pool();
    const Baseline before = baseline(hosts, map_);
    hosts.push_back(host());
    const Baseline after = baseline(hosts, map_);
    for (const std::string& flag : after.sgx.flags) EXPECT_THAT(before.sgx.flags, Contains(flag));
    EXPECT_EQ(after.sgx.xfrm & ~before.sgx.xfrm, 0u);
    EXPECT_LE(after.sgx.log2_size_64, before.sgx.log2_size_64);
    EXPECT_LE(after.sgx.launch.writable, before.sgx.flags.empty() || before.sgx.launch.writable);
  }
}

TEST_P(Pools, TheOrderOfHostsAndTheirNumberDoNotMatter) {
  for (int round = 0; round < 20; ++round) {
    auto hosts = pool();
    const Baseline first = baseline(hosts, map_);
    hosts.push_back(hosts[pick(hosts.size())]);
    std::ranges::shuffle(hosts, random_);
    const Baseline second = baseline(hosts, map_);
    EXPECT_EQ(first.sgx, second.sgx);
    EXPECT_EQ(first.cpu, second.cpu);
    EXPECT_EQ(first.epc_bytes, second.epc_bytes);
    EXPECT_EQ(first.epc_property, second.epc_property);
  }
}

TEST_P(Pools, AMoveIsSafeExactlyWhereNothingIsLost) {
  const auto hosts = pool();
  for (const Migration& m : baseline(hosts, map_).migrations) {
    EXPECT_EQ(m.safe == Known::no, !m.lost.empty());
    EXPECT_EQ(m.safe == Known::yes, m.lost.empty() && m.unknown.empty());
    // What is safe to move there is there: the policy of the first host alone passes the other's check.
    if (m.safe != Known::yes) continue;
    const HostView alone[] = {hosts[m.from]};
    const auto result = check(hosts[m.to], wish_of(baseline(alone, map_)), map_);
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->all, Known::yes);
  }
}

TEST_P(Pools, ABaselineIsClosedUnderDependence) {
  const auto hosts = pool();
  const Baseline found = baseline(hosts, map_);
  for (const std::string& flag : found.sgx.flags) {
    for (const std::string_view ground : requirements(*find_feature(flag))) {
      if (!ground.starts_with("sgx")) continue;
      EXPECT_THAT(found.sgx.flags, Contains(std::string(ground))) << flag;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Pools, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace cloister::policy
