// What Nova and xl are told of a Vm, in their own words (nova/conf/libvirt.py; xl.cfg(5)), and what they cannot be
// told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "config/config.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/nova_conf.hpp"
#include "policy/flags.hpp"

namespace cloister::toolstack::vm {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

CpuFeature feature(const char* name, FeaturePolicy policy = FeaturePolicy::require) {
  return {.name = name, .policy = policy, .at = {}};
}

/// The guest of the document, with 64 MiB of EPC.
Vm document_vm() {
  Vm vm;
  vm.name = "sgx";
  vm.memory_kib = 2048 * 1024;
  vm.vcpus = 2;
  vm.cpu = {CpuMode::custom, "Skylake-Client-IBRS", {}};
  for (const char* name : {"sgx", "sgxlc", "sgx1", "sgx-provisionkey", "sgx-tokenkey", "sgx-debug", "sgx-mode64"})
    vm.cpu.features.push_back(feature(name));
  vm.epc.push_back({.kib = 64 * 1024, .host_nodes = {}, .guest_node = {}, .prealloc = true, .at = {}});
  return vm;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> lost(const Rendered& rendered) {
  std::vector<std::string> what;
  for (const Loss& loss : rendered.losses) what.push_back(loss.what);
  return what;
}

// ------------------------------------------------------------------------------------------------ Nova

TEST(Nova, HasTheDocumentsThreeLines) {
  const Rendered nova = to_nova(document_vm());
  EXPECT_THAT(lost(nova), IsEmpty());
  const auto lines = lines_of(nova.text);
  EXPECT_THAT(lines, Contains("cpu_mode = custom"));
  EXPECT_THAT(lines, Contains("cpu_models = Skylake-Client-IBRS"));
  EXPECT_THAT(lines, Contains("# cpu_model = Skylake-Client-IBRS")) << "as the document has it, for its Nova";
  EXPECT_THAT(lines, Contains("cpu_model_extra_flags = "
                              "sgx,sgxlc,sgx1,sgx-provisionkey,sgx-tokenkey,sgx-debug,sgx-mode64"));
}

TEST(Nova, TextIsANovaConfWithTheSameCpu) {
  Vm vm = document_vm();
  vm.cpu.features.push_back(feature("hle", FeaturePolicy::disable));
  for (const CpuMode mode : {CpuMode::custom, CpuMode::host_model, CpuMode::host_passthrough}) {
    vm.cpu.mode = mode;
    if (mode != CpuMode::custom) vm.cpu.model.clear();
    const auto read = read_nova_conf(to_nova(vm).text);
    ASSERT_TRUE(read.has_value()) << format("", read.error());
    EXPECT_EQ(cpu_of(*read), vm.cpu);
    EXPECT_EQ(read->old_models, std::nullopt);
  }
}

TEST(Nova, AllButSettingsIsComment) {
  Vm vm = document_vm();
  vm.name = "a\nb";
  vm.cpu.model = "Haswell\ncpu_mode = none";
  vm.cpu.features.push_back(feature("x,y"));
  vm.machine = "q35\nvirt_type = lxc";
  vm.kernel = "/k\n[api]";
  vm.cmdline = "quiet\r\n[api]\x1b[2J";
  const Rendered nova = to_nova(vm);
  for (const std::string& line : lines_of(nova.text)) {
    const bool known = line.empty() || line.starts_with("#") || line == "[libvirt]" || line == "virt_type = kvm" ||
                       line.starts_with("cpu_model_extra_flags = sgx,");
    EXPECT_TRUE(known) << line;
    EXPECT_EQ(line.find('\x1b'), line.npos);
  }
  EXPECT_THAT(lost(nova), Contains("CPU model 'Haswell?cpu_mode = none'"));
  EXPECT_THAT(lost(nova), Contains("feature 'x,y'"));
}

TEST(Nova, FlavorHasSizesTraitAndNodes) {
  const std::string text = to_nova(document_vm()).text;
  EXPECT_THAT(text, HasSubstr("#   openstack flavor create --ram 2048 --vcpus 2 --disk 0 sgx\n"));
  EXPECT_THAT(text, HasSubstr("#   openstack flavor set --property trait:HW_CPU_X86_SGX=required --property "
                              "hw:numa_nodes=1 sgx\n"));
  Vm plain;
  plain.name = "plain";
  plain.memory_kib = 512 * 1024;
  EXPECT_THAT(to_nova(plain).text, Not(HasSubstr("flavor set")));
}

TEST(Nova, EpcIsTheFragmentThatLibvirtHas) {
  Vm vm = document_vm();
  vm.epc[0].host_nodes = {1};
  vm.epc[0].guest_node = 0;
  const std::string text = to_nova(vm).text;
  EXPECT_THAT(text, HasSubstr("#       <memory model='sgx-epc'>\n"));
  EXPECT_THAT(text, HasSubstr("<nodemask>1</nodemask>"));
  EXPECT_THAT(text, HasSubstr("65536"));
  vm.epc.clear();
  EXPECT_THAT(to_nova(vm).text, Not(HasSubstr("sgx-epc")));
}

TEST(Nova, NodesThatNovaCannotMakeAreALoss) {
  Vm vm = document_vm();
  vm.epc.push_back(vm.epc[0]);
  vm.epc[0].guest_node = 0;
  vm.epc[1].guest_node = 1;
  EXPECT_THAT(lost(to_nova(vm)), IsEmpty());
  vm.vcpus = 1;
  EXPECT_THAT(lost(to_nova(vm)), ElementsAre("2 guest NUMA nodes of the EPC"));
}

TEST(Nova, PoliciesThatNovaHasNoWordForAreLosses) {
  Vm vm = document_vm();
  vm.cpu.features = {feature("vmx", FeaturePolicy::forbid), feature("hle", FeaturePolicy::optional),
                     feature("rtm", FeaturePolicy::force)};
  const Rendered nova = to_nova(vm);
  EXPECT_THAT(lost(nova), ElementsAre("policy 'forbid' of feature vmx", "policy 'optional' of feature hle",
                                      "policy 'force' of feature rtm"));
  EXPECT_THAT(lines_of(nova.text), Contains("cpu_model_extra_flags = -vmx,rtm"));
}

TEST(Nova, ALaunchHashIsALoss) {
  Vm vm = document_vm();
  vm.launch.hash = {1, 2, 3, 4};
  EXPECT_THAT(lost(to_nova(vm)), ElementsAre(HasSubstr("launch hash")));
  vm.launch.hash = arch::msr::intel_lepubkeyhash;
  EXPECT_THAT(lost(to_nova(vm)), IsEmpty()) << "what a guest starts with";
}

TEST(Nova, AClockIsALoss) {
  Vm vm = document_vm();
  vm.clock.localtime = true;
  EXPECT_THAT(lost(to_nova(vm)), ElementsAre("clock of local time"));
  EXPECT_THAT(to_nova(vm).losses, ElementsAre(Field(&Loss::minor, true)));
}

TEST(Nova, BootIsACommentAndNoLoss) {
  Vm vm = document_vm();
  vm.kernel = "build/guest/vmlinuz";
  vm.cmdline = "console=ttyS0";
  const Rendered nova = to_nova(vm);
  EXPECT_THAT(lost(nova), IsEmpty());
  EXPECT_THAT(lines_of(nova.text), Contains("#   kernel_id: build/guest/vmlinuz"));
  EXPECT_THAT(lines_of(nova.text), Contains("#   os_command_line: console=ttyS0"));
}

// ------------------------------------------------------------------------------------------------ xl

TEST(Xl, HasEpcAndCpuidInItsOwnWords) {
  Vm vm = document_vm();
  vm.cpu = {CpuMode::host_passthrough, "", {feature("sgxlc", FeaturePolicy::disable), feature("sse4.1")}};
  const Rendered xl = to_xl(vm);
  EXPECT_THAT(lost(xl), IsEmpty());
  EXPECT_THAT(lines_of(xl.text), Contains("epc = 64"));
  EXPECT_THAT(lines_of(xl.text), Contains(HasSubstr("cpuid = \"host,sgx-lc=0,sse4")));
}

TEST(Xl, PoliciesBecomeItsLetters) {
  Vm vm;
  vm.cpu = {CpuMode::host_model, "", {feature("avx", FeaturePolicy::optional), feature("aes", FeaturePolicy::force)}};
  EXPECT_THAT(to_xl(vm).text, HasSubstr("cpuid = \"host,avx=k,aes=1\"\n"));
  vm.cpu.features = {feature("avx", FeaturePolicy::forbid)};
  EXPECT_THAT(lost(to_xl(vm)), ElementsAre("policy 'forbid' of feature avx"));
}

TEST(Xl, HasTheClocksTwoKeys) {
  Vm vm;
  vm.clock = {.localtime = true, .ahead = -60};
  EXPECT_THAT(lost(to_xl(vm)), IsEmpty());
  EXPECT_THAT(lines_of(to_xl(vm).text), Contains("localtime = 1"));
  EXPECT_THAT(lines_of(to_xl(vm).text), Contains("rtc_timeoffset = \"-60\""));
}

TEST(Xl, CannotSayModelNodesOrHash) {
  Vm vm = document_vm();
  vm.cpu.features = {feature("sgx"), feature("sgx-debug"), feature("vmx-ept")};
  vm.epc[0].host_nodes = {0};
  vm.epc.push_back({.kib = 100, .host_nodes = {}, .guest_node = {}, .prealloc = true, .at = {}});
  vm.launch = {std::array<u64, 4>{1, 2, 3, 4}, false};
  vm.provision = false;
  const Rendered xl = to_xl(vm);
  EXPECT_THAT(lost(xl), ElementsAre("NUMA nodes of the EPC section of 65536 KiB", "2 EPC sections", "65636 KiB of EPC",
                                    "CPU model 'Skylake-Client-IBRS'", "feature vmx-ept",
                                    HasSubstr("launch hash 01000000"), "launch hash that the guest cannot write"));
  EXPECT_THAT(lines_of(xl.text), Contains("epc = 65"));
  EXPECT_THAT(lines_of(xl.text), Contains("cpuid = [\"0x7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxx1xx\", "
                                          "\"0x12,1:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxx0xx1x\"]"));
}

TEST(Xl, GuestsHaveTheProvisioningKeyUnlessItIsRefused) {
  Vm vm = document_vm();
  vm.cpu = {CpuMode::host_passthrough, "", {feature("sgx-provisionkey")}};
  EXPECT_THAT(lost(to_xl(vm)), IsEmpty());
  vm.cpu.features = {feature("sgx-provisionkey", FeaturePolicy::disable)};
  EXPECT_THAT(lost(to_xl(vm)), IsEmpty());
  EXPECT_THAT(lines_of(to_xl(vm).text), Contains("cpuid = [\"0x12,1:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxx0xxxx\"]"))
      << "xl has no word for it, and a register has its bit";
  vm.epc.clear();
  EXPECT_THAT(lost(to_xl(vm)), IsEmpty()) << "no EPC, no keys";
}

TEST(Xl, WhatIsWrittenIsWhatADomainHas) {
  for (const policy::Feature& each : policy::features()) {
    SCOPED_TRACE(each.name);
    Vm vm = document_vm();
    // With a feature for which xl has no word, both are said by registers.
    for (const char* const beside : {"sgx", "sgx-kss"}) {
      vm.cpu = {CpuMode::host_passthrough, "", {feature(std::string(each.name).c_str(), FeaturePolicy::disable)}};
      if (!(*policy::find_feature(beside) == each)) vm.cpu.features.push_back(feature(beside));
      const auto lines = lines_of(to_xl(vm).text);
      const auto cpuid = std::ranges::find_if(lines, [](const std::string& line) { return line.starts_with("cpuid"); });
      ASSERT_NE(cpuid, lines.end());
      const auto read = read_config("name = 'x'\nkernel = 'k'\n" + *cpuid + "\n");
      ASSERT_TRUE(read) << *cpuid << format("", read.error());
      const auto& said = read->config.cpuid;
      EXPECT_TRUE(std::ranges::any_of(said, [&](const policy::CpuidOverride& change) {
        return !change.on && *policy::find_feature(change.feature) == each;
      })) << *cpuid;
      EXPECT_EQ(said.size(), vm.cpu.features.size()) << *cpuid;
    }
  }
}

TEST(Xl, NothingToSayIsNoLine) {
  Vm vm;
  vm.cpu.mode = CpuMode::host_passthrough;
  for (const std::string& line : lines_of(to_xl(vm).text)) EXPECT_THAT(line, testing::StartsWith("#"));
}

}  // namespace
}  // namespace cloister::toolstack::vm
