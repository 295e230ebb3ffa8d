// `cloister cpu check` and `baseline` as a person and a program see them: policies read from files, tables, JSON.
#include "interop/cpu/pool.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "policy/cpuid_dump.hpp"
#include "silicon/backend.hpp"
#include "text/json_fields.hpp"
#include "unit/policy/sgx_machines.hpp"

namespace cloister::toolstack::cpu {
namespace {

using policy::Known;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

policy::HostView dumped(const std::string& name, const char* text) {
  policy::HostView host;
  host.name = name;
  host.source = "cpuid -r";
  host.cpus = policy::read_cpuid_dump(text)->cpus;
  return host;
}

policy::CpuMap small_map() {
  policy::CpuMap map = policy::map_of_features();
  map.models.push_back({"Skylake-Client-IBRS", "Intel", {0x506e0}, {"fpu", "sse2", "avx2", "spec-ctrl"}});
  return map;
}

AskedPolicy read(std::string_view text) {
  auto asked = read_policy(text, "policy.file", small_map(), silicon::backend());
  EXPECT_TRUE(asked.has_value()) << asked.error();
  return asked ? *asked : AskedPolicy{};
}

std::string error_of(std::string_view text) {
  const auto asked = read_policy(text, "policy.file", small_map(), silicon::backend());
  return asked ? "none" : asked.error();
}

// ------------------------------------------------------------------------------------------------ policies

TEST(AskedPolicies, AreNames) {
  EXPECT_THAT(read("sgx,sgxlc,sgx-provisionkey").wish.flags, ElementsAre("sgx", "sgxlc", "sgx-provisionkey"));
  EXPECT_THAT(read("sgx\nsgx_lc\n").wish.flags, ElementsAre("sgx", "sgx_lc"));
  const auto wish = read("Skylake-Client-IBRS,sgx=on,-avx2").wish;
  EXPECT_EQ(wish.model, "Skylake-Client-IBRS");
  EXPECT_THAT(wish.flags, ElementsAre("sgx"));
  EXPECT_THAT(wish.without, ElementsAre("avx2"));
  // QEMU's words for the host's processor, of which nothing is asked.
  for (const char* host : {"host,+sgx", "max,sgx=on"}) {
    EXPECT_EQ(read(host).wish.model, "") << host;
    EXPECT_THAT(read(host).wish.flags, ElementsAre("sgx")) << host;
  }
  EXPECT_THAT(error_of("host"), HasSubstr("asks for no CPU flag"));
}

TEST(AskedPolicies, AreConfigurations) {
  const auto asked = read(R"(name = "guest"
kernel = "vmlinuz"
memory = 256
epc = 64
silicon = "coffeelake-client"
lehash = "00000000000000000000000000000000000000000000000000000000000000ff"
)");
  EXPECT_THAT(asked.wish.flags, AllOf(Contains("sgx"), Contains("sgx1"), Contains("sgxlc")));
  EXPECT_EQ(asked.wish.epc_bytes, u64{64} << 20);
  ASSERT_TRUE(asked.wish.launch.hash);
  EXPECT_EQ((*asked.wish.launch.hash)[3], 0xff00'0000'0000'0000u);
}

TEST(AskedPolicies, AreLibvirtsXml) {
  const auto asked = read(R"(<domain type='kvm'>
  <name>guest</name>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='custom' match='exact'>
    <model fallback='forbid'>Skylake-Client-IBRS</model>
    <feature policy='require' name='sgx'/>
    <feature policy='require' name='sgxlx'/>
    <feature policy='optional' name='sgx2'/>
    <feature policy='disable' name='avx2'/>
  </cpu>
  <devices>
    <memory model='sgx-epc'><target><size unit='MiB'>32</size></target></memory>
  </devices>
</domain>
)");
  EXPECT_EQ(asked.wish.model, "Skylake-Client-IBRS");
  EXPECT_THAT(asked.wish.flags, ElementsAre("sgx", "sgxlx"));
  EXPECT_THAT(asked.wish.without, ElementsAre("sgx2", "avx2")) << "of which nothing is asked";
  EXPECT_EQ(asked.wish.epc_bytes, u64{32} << 20);
  EXPECT_THAT(asked.where.at("sgxlx"), HasSubstr("policy.file:9:"));
}

TEST(AskedPolicies, AreLibvirtsCpuElementAlone) {
  const policy::NamedCpu cpu{"Intel", "Skylake-Client-IBRS", {"sgx", "sgx1"}, {"avx2"}};
  const auto asked = read(cpu_element(cpu));
  EXPECT_EQ(asked.wish.model, "Skylake-Client-IBRS");
  EXPECT_THAT(asked.wish.flags, ElementsAre("sgx", "sgx1"));
  EXPECT_THAT(asked.wish.without, ElementsAre("avx2"));
  EXPECT_THAT(error_of("<cpu mode='fast'/>"), HasSubstr("policy.file:1:1: "));
}

TEST(AskedPolicies, HaveLibvirtsFivePolicies) {
  const auto wish =
      read(
          "<cpu match='strict'><model>Skylake-Client-IBRS</model><vendor>Intel</vendor>"
          "<feature name='a' policy='force'/><feature name='b' policy='require'/><feature name='c' "
          "policy='optional'/><feature name='d' policy='disable'/><feature name='e' policy='forbid'/></cpu>")
          .wish;
  EXPECT_THAT(wish.flags, ElementsAre("b"));
  EXPECT_THAT(wish.without, ElementsAre("a", "c", "d"));
  EXPECT_THAT(wish.forbidden, ElementsAre("e"));
  EXPECT_EQ(wish.vendor, "Intel");
  EXPECT_TRUE(wish.strict);
}

TEST(AskedPolicies, AreNovasSettings) {
  // The document that the project's issue on CPU policies began with has these three lines.
  const auto asked = read(R"([libvirt]
cpu_mode = custom
cpu_model = Skylake-Client-IBRS
cpu_model_extra_flags = sgx,sgxlc,sgx1,sgx-provisionkey,sgx-tokenkey,sgx-debug,sgx-mode64
)");
  EXPECT_EQ(asked.wish.model, "Skylake-Client-IBRS");
  EXPECT_THAT(asked.wish.flags,
              ElementsAre("sgx", "sgxlc", "sgx1", "sgx-provisionkey", "sgx-tokenkey", "sgx-debug", "sgx-mode64"));
  EXPECT_EQ(asked.where.at("sgx"), "policy.file:4:25");
}

TEST(AskedPolicies, AreQemusArguments) {
  const auto asked = read(
      "/usr/bin/qemu-system-x86_64 -m 512 -cpu Skylake-Client-IBRS,sgx=on,sgxlc=on "
      "-object memory-backend-epc,id=mem1,size=64M,prealloc=on -M q35,sgx-epc.0.memdev=mem1\n");
  EXPECT_EQ(asked.wish.model, "Skylake-Client-IBRS");
  EXPECT_THAT(asked.wish.flags, ElementsAre("sgx", "sgxlc"));
  EXPECT_EQ(asked.wish.epc_bytes, u64{64} << 20);
}

// Short commands have no character that a list of names could not have.
TEST(AskedPolicies, AreNoListsOfNamesWhereAProgramOrAnOptionComesFirst) {
  for (const char* command : {"qemu-system-x86_64 -cpu Skylake-Client-IBRS,sgx=on", "-cpu Skylake-Client-IBRS,+sgx\n",
                              "kvm -m 64 -cpu Skylake-Client-IBRS,sgx"}) {
    const auto asked = read(command);
    EXPECT_EQ(asked.wish.model, "Skylake-Client-IBRS") << command;
    EXPECT_THAT(asked.wish.flags, ElementsAre("sgx")) << command;
  }
  EXPECT_THAT(read("#!/bin/sh\nIMG=a.img\nqemu-system-x86_64 -cpu host,+sgx -drive file=$IMG\n").wish.flags,
              ElementsAre("sgx"));
  for (const char* list : {"-avx2 sgx", "-avx2,sgx", "qemu64,sgx -avx2"})
    EXPECT_THAT(read(list).wish.flags, Contains("sgx")) << list;
  for (const char* other : {"---\nsgx: 1\n", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n"})
    EXPECT_NE(error_of(other), "none") << other;
}

TEST(AskedPolicies, HaveNoMoreNamesThanThereAre) {
  std::string names = "x0";
  for (int i = 1; i < 4097; ++i) names += ",x" + std::to_string(i);
  EXPECT_EQ(error_of(names), "policy.file: found 4097 names of CPU flags, expected 4096 at most");
}

TEST(AskedPolicies, HaveOneErrorWithItsPlace) {
  EXPECT_THAT(error_of(""), HasSubstr("policy.file: asks for no CPU flag"));
  EXPECT_THAT(error_of("<domain><cpu>"), HasSubstr("policy.file:1:"));
  EXPECT_THAT(error_of("# a\n[Unit]\nDescription=x\n"),
              HasSubstr("policy.file:2:1: found a file of sections, expected"));
  EXPECT_THAT(error_of("name = \"a\"\nmemory = \"much\"\n"), HasSubstr("policy.file:2:"));
  EXPECT_THAT(error_of("{\"sgx\": {\"flags\": 3}}"), HasSubstr("'sgx.flags': expected an array of names"));
  EXPECT_THAT(error_of("{\"sgx\": {\"xfrm\": \"many\"}}"), HasSubstr("'sgx.xfrm'"));
  EXPECT_THAT(error_of("{\"sgx\": {\"log2_size_64\": 99}}"), HasSubstr("from 0 to 64"));
  EXPECT_THAT(error_of("{\"sgx\": {\"launch\": {\"lepubkeyhash\": \"00\"}}}"), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(error_of("{\"sgx\": {}, \"cpu\": {\"features\": [{\"name\": 1}]}}"), HasSubstr("'cpu.features'"));
}

TEST(AskedPolicies, TakeAnyBytes) {
  const std::string whole = R"({"sgx": {"flags": ["sgx"], "xfrm": "0x3", "launch": {"writable": true}},
    "cpu": {"model": "Skylake-Client-IBRS", "features": [{"name": "sgx", "policy": "require"}]}})";
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text = whole;
    for (int n = 0; n < 4; ++n) text[random() % text.size()] = static_cast<char>(random());
    text.resize(random() % (text.size() + 1));
    const auto asked = read_policy(text, "policy.file", small_map(), silicon::backend());
    EXPECT_THAT(asked ? "" : asked.error(), Not(HasSubstr("\n")));
  }
}

// ------------------------------------------------------------------------------------------------ baselines

TEST(Pools, ABaselinesJsonIsAPolicyThatEveryHostPasses) {
  const policy::CpuMap map = small_map();
  const policy::HostView hosts[] = {dumped("kaby", tests::kaby_lake), dumped("xeon", tests::xeon_e_2276g)};
  const auto json = baseline_json(policy::baseline(hosts, map), map);
  const auto asked = read_policy(json.dump(), "baseline.json", map, silicon::backend());
  ASSERT_TRUE(asked) << asked.error();
  EXPECT_THAT(asked->wish.flags, Contains("sgx-provisionkey"));
  EXPECT_EQ(asked->wish.xfrm, 0x1bu);
  for (const policy::HostView& host : hosts) {
    const auto checked = policy::check(host, asked->wish, map);
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->all, Known::yes) << host.name;
    const std::string text = check_text(host, *checked, policy::sgx_report(host));
    EXPECT_THAT(text, HasSubstr(host.name + " has all "));
  }
  const policy::HostView off = dumped("off", tests::ice_lake_server_off);
  EXPECT_EQ(policy::check(off, asked->wish, map)->all, Known::no);
}

TEST(Pools, TheTextSaysWhoCostsWhat) {
  const policy::CpuMap map = small_map();
  const policy::HostView hosts[] = {dumped("/pool/kaby.txt", tests::kaby_lake),
                                    dumped("/pool/xeon.txt", tests::xeon_e_2276g)};
  const std::string text = baseline_text(policy::baseline(hosts, map), map);
  EXPECT_THAT(text, HasSubstr("kaby.txt  yes  none            93 MiB (property 1)"));
  EXPECT_THAT(text, HasSubstr("flags       sgx,sgx1,sgx-debug,sgx-mode64,sgx-provisionkey,sgx-tokenkey\n"));
  EXPECT_THAT(text, HasSubstr("XFRM        0x1b (x87, sse, mpx)\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("sgxlc +leaf 0x7, sub-leaf 0, ECX bit 30 +kaby.txt\n"));
  EXPECT_THAT(text, HasSubstr("xeon.txt -> kaby.txt: loses sgxlc, XFRM avx"));
  EXPECT_THAT(text, HasSubstr("Its enclaves do not"));
}

TEST(Pools, ALargePoolIsSummedUp) {
  std::vector<policy::HostView> hosts;
  for (int i = 0; i < 30; ++i)
    hosts.push_back(dumped("host" + std::to_string(i), i % 10 == 0 ? tests::kaby_lake : tests::two_xeon_gold_6354));
  const auto map = small_map();
  const policy::Baseline found = policy::baseline(hosts, map);
  const std::string text = baseline_text(found, map);
  EXPECT_THAT(text, HasSubstr("30 hosts, of which 2 differ in what a guest can have; --all shows each.\n"));
  EXPECT_THAT(text, HasSubstr("host0 and 2 alike"));
  EXPECT_THAT(text, HasSubstr("host1 and 26 alike"));
  EXPECT_LT(std::ranges::count(text, '\n'), 80) << text;
  std::size_t widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  EXPECT_LT(widest, 400u);
  EXPECT_THAT(baseline_text(found, map, true), HasSubstr("host29"));
}

// Paths of some length, and a name that all have.
TEST(Pools, ALargePoolsLinesAreOfATerminalsWidth) {
  std::vector<policy::HostView> hosts;
  const std::string folder = "/srv/inventory/" + std::string(90, 'x') + "/rack";
  for (int i = 0; i < 40; ++i)
    hosts.push_back(
        dumped(folder + std::to_string(i) + "/cpuid.txt", i % 2 == 0 ? tests::kaby_lake : tests::ice_lake_server_off));
  const auto map = small_map();
  const policy::Baseline found = policy::baseline(hosts, map);
  std::size_t widest = 0;
  std::istringstream lines(baseline_text(found, map));
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  EXPECT_LT(widest, 400u) << baseline_text(found, map);
  EXPECT_THAT(baseline_text(found, map, true), HasSubstr("    not on " + folder + "39/cpuid.txt\n"));
}

TEST(Pools, TheTextSaysWhyThereIsNoSgx) {
  const policy::CpuMap map = small_map();
  const policy::HostView hosts[] = {dumped("good", tests::xeon_gold_5315y), dumped("off", tests::ice_lake_server_off)};
  EXPECT_THAT(baseline_text(policy::baseline(hosts, map), map),
              HasSubstr("SGX on all hosts: none; off: SGX is switched off in its firmware\n"));
}

TEST(Pools, TheCpuIsLibvirtsElement) {
  EXPECT_EQ(cpu_element({"Intel", "Skylake-Client-IBRS", {"sgx"}, {"avx2"}}),
            R"(<cpu mode='custom' match='exact'>
  <model fallback='forbid'>Skylake-Client-IBRS</model>
  <vendor>Intel</vendor>
  <feature policy='require' name='sgx'/>
  <feature policy='disable' name='avx2'/>
</cpu>
)");
}

TEST(Pools, FlagsThatTheMapHasNoWordForAreSaid) {
  policy::CpuMap map = small_map();
  std::erase_if(map.features, [](const policy::MapFeature& f) { return f.name == "sgx-edeccssa"; });
  const policy::HostView hosts[] = {dumped("gold", tests::xeon_gold_5315y)};
  const auto baseline = policy::baseline(hosts, map);
  // Leaf 12H EAX bit 10, not 11: this processor has EUPDATESVN, and no EDECCSSA.
  EXPECT_THAT(unsaid_flags(baseline.sgx, map), IsEmpty());
  std::erase_if(map.features, [](const policy::MapFeature& f) { return f.name == "sgx-kss"; });
  EXPECT_THAT(unsaid_flags(baseline.sgx, map), ElementsAre("sgx-kss"));
  EXPECT_THAT(baseline_text(baseline, map), HasSubstr("sgx-kss: this libvirt has no word for them"));
}

// ------------------------------------------------------------------------------------------------ checks

TEST(Checks, AreATableAndTheSameAsJson) {
  const policy::HostView host = dumped("kaby", tests::kaby_lake);
  const auto checked = policy::check(host, read("sgx,sgx_lc").wish, small_map());
  ASSERT_TRUE(checked);
  const policy::SgxReport report = policy::sgx_report(host);
  const std::string text = check_text(host, *checked, report);
  EXPECT_THAT(text, ::testing::ContainsRegex("sgx_lc \\(sgxlc\\) +leaf 0x7, sub-leaf 0, ECX bit 30 +no +[A-Z]"));
  EXPECT_THAT(text, ::testing::ContainsRegex("sgx1 \\(implied\\) +leaf 0x12, sub-leaf 0, EAX bit 0 +yes\n"));
  EXPECT_THAT(text, HasSubstr("kaby lacks 1 of 3.\n"));
  const auto json = check_json(host, *checked, report);
  EXPECT_EQ(json["all"], "no");
  EXPECT_EQ(json["flags"][2]["name"], "sgxlc");
  EXPECT_EQ(json["flags"][2]["asked"], "sgx_lc");
  EXPECT_EQ(json["flags"][2]["here"], "no");
}

// libvirt and QEMU speak of what guests get, and not of the processor.
TEST(Checks, WhatIsNotOfferedMayBeThere) {
  policy::HostView host;
  host.named.learn(*policy::find_feature("sgx"), false);
  const auto checked = policy::check(host, read("sgx1").wish, small_map());
  ASSERT_TRUE(checked);
  const std::string text = check_text(host, *checked, policy::sgx_report(host));
  EXPECT_THAT(text, HasSubstr("no: guests are offered no SGX there"));
  EXPECT_THAT(text, Not(HasSubstr("the processor has no SGX")));
}

}  // namespace
}  // namespace cloister::toolstack::cpu
