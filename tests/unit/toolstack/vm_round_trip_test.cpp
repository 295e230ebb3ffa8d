// Domains that are generated go from one format to another and back: every fact of SGX must be there again.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "arch/msr.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "policy/descriptions.hpp"
#include "policy/flags.hpp"
#include "silicon/backend.hpp"
#include "unit/toolstack/vm_domains.hpp"

namespace cloister::toolstack::vm {
namespace {

using tests::any_vm;
using tests::Dice;

constexpr u32 domains = 2000;

bool of_sgx(const CpuFeature& feature) { return policy::find_sgx_flag(feature.name) != nullptr; }

/// What a domain has of SGX, with what goes without saying made equal.
struct SgxFacts {
  CpuMode mode;
  std::string model;
  std::map<std::string, bool> features;
  std::vector<Epc> epc;
  bool provision;
  bool operator==(const SgxFacts&) const = default;
};

SgxFacts facts_of(const Vm& vm) {
  SgxFacts facts{vm.cpu.mode, vm.cpu.model, {}, vm.epc, has_feature(with_provision(vm), "sgx-provisionkey")};
  // A model is without what it does not name.
  for (const CpuFeature& feature : with_provision(vm).features) {
    if (of_sgx(feature) && (is_on(feature.policy) || vm.cpu.mode != CpuMode::custom))
      facts.features[feature.name] = is_on(feature.policy);
  }
  for (Epc& epc : facts.epc) epc.guest_node = epc.guest_node.value_or(0);
  return facts;
}

void PrintTo(const SgxFacts& facts, std::ostream* out) {
  *out << "mode " << int(facts.mode) << " " << facts.model << " provision " << facts.provision;
  for (const auto& [name, on] : facts.features) *out << " " << name << (on ? "=on" : "=off");
  for (const Epc& epc : facts.epc) {
    *out << " epc " << epc.kib << "@" << *epc.guest_node << (epc.prealloc ? "" : " late") << " of";
    for (const u32 node : epc.host_nodes) *out << " " << node;
  }
}

std::vector<std::string> why(const std::vector<Loss>& losses) {
  std::vector<std::string> lines;
  for (const Loss& loss : losses) lines.push_back(loss.what + ": " + loss.why);
  return lines;
}

void expect_same(const Vm& before, const Vm& after) {
  EXPECT_EQ(facts_of(after), facts_of(before));
  EXPECT_EQ(after.name, before.name);
  EXPECT_EQ(after.uuid, before.uuid);
  EXPECT_EQ(after.type, before.type);
  EXPECT_EQ(after.machine, before.machine);
  EXPECT_EQ(after.memory_kib, before.memory_kib);
  EXPECT_EQ(after.vcpus, before.vcpus);
  EXPECT_EQ(after.kernel, before.kernel);
  EXPECT_EQ(after.ramdisk, before.ramdisk);
  EXPECT_EQ(after.cmdline, before.cmdline);
  EXPECT_EQ(after.clock, before.clock);
}

TEST(RoundTrip, ThroughLibvirtAndQemu) {
  for (u32 seed = 0; seed < domains && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Dice dice(seed);
    const Vm vm = any_vm(dice);
    const Rendered xml = to_libvirt(vm);
    EXPECT_TRUE(xml.losses.empty()) << testing::PrintToString(why(xml.losses));
    const auto from_xml = from_libvirt(xml.text);
    ASSERT_TRUE(from_xml) << format("xml", from_xml.error()) << "\n" << xml.text;
    EXPECT_TRUE(from_xml->ignored.empty()) << from_xml->ignored.front().message << "\n" << xml.text;
    expect_same(vm, from_xml->vm);

    const Rendered command = to_qemu(from_xml->vm);
    EXPECT_TRUE(command.losses.empty()) << testing::PrintToString(why(command.losses));
    auto argv = read_argv(command.text);
    ASSERT_TRUE(argv) << command.text;
    EXPECT_EQ(std::ranges::count(*argv, "-cpu"), 1) << command.text;
    argv->erase(argv->begin());
    const auto from_argv = from_qemu(*argv);
    ASSERT_TRUE(from_argv) << format("argv", from_argv.error()) << "\n" << command.text;
    EXPECT_TRUE(from_argv->ignored.empty()) << from_argv->ignored.front().message << "\n" << command.text;
    expect_same(vm, from_argv->vm);

    const auto again = from_libvirt(to_libvirt(from_argv->vm).text);
    ASSERT_TRUE(again);
    expect_same(vm, again->vm);
  }
}

/// A configuration in all that concerns SGX, as text.
std::string any_config(Dice& dice) {
  std::string text = "name = \"d\"\nkernel = \"/k\"\n";
  text +=
      "memory = " + std::to_string(16 + dice.below(2048)) + "\nvcpus = " + std::to_string(1 + dice.below(16)) + "\n";
  if (dice.even()) text += "uuid = 'c7a5fdbd-edaf-9455-926a-d65c16db1809'\n";
  const u32 which = dice.below(static_cast<u32>(policy::descriptions().size()) + 2);
  const policy::Description* const description =
      which < policy::descriptions().size() ? &policy::descriptions()[which] : nullptr;
  if (description != nullptr) text += "silicon = \"" + std::string(description->name) + "\"\n";
  const u32 sections = dice.below(4);
  if (sections == 1 && dice.even()) {
    text += "epc = " + std::to_string(1 + dice.below(512)) + "\n";
  } else if (sections > 0) {
    text += "epc = [";
    for (u32 i = 0; i < sections; ++i) {
      text += "\"size=" + std::to_string(1 + dice.below(512));
      if (dice.even()) text += ",package=" + std::to_string(dice.below(8));
      text += "\",";
    }
    text += "]\n";
  }
  constexpr const char* words[] = {"sgxlc",      "sgx2",         "sgx-exinfo", "sgx-debug",
                                   "sgx-mode64", "sgx-tokenkey", "sgx-kss",    "popcnt"};
  text += "cpuid = \"host";
  for (const char* word : words) {
    if (dice.below(4) == 0) text += std::string(",") + word + "=0";
  }
  text += "\"\n";
  const bool control = description == nullptr || (description->leaf7_ecx >> 30 & 1) != 0;
  if (sections > 0 && control && dice.even()) {
    text += "lehash = \"";
    for (u32 i = 0; i < 64; ++i) text += "0123456789abcdef"[dice.below(16)];
    text += "\"\n";
  }
  if (sections > 0 && dice.even()) text += "lewr = " + std::to_string(dice.below(2)) + "\n";
  if (sections > 0 && dice.even()) text += "sgx_provision = 1\n";
  if (dice.even()) text += "localtime = 1\n";
  if (dice.even()) text += "rtc_timeoffset = '" + std::to_string(int(dice.below(100'000)) - 50'000) + "'\n";
  return text;
}

Vm config_vm(const std::string& text) {
  const auto read = read_config(text);
  EXPECT_TRUE(read) << (read ? "" : format("cfg", read.error())) << "\n" << text;
  if (!read) return {};
  auto vm = from_config(read->config, silicon::backend());
  EXPECT_TRUE(vm) << (vm ? "" : format("cfg", vm.error())) << "\n" << text;
  return vm ? std::move(*vm) : Vm{};
}

/// The one thing of SGX in configurations that neither libvirt nor QEMU has a word for.
Vm without_launch(Vm vm) {
  vm.launch = {};
  return vm;
}

/// Features that no description's own model takes with it: the words that are lost by design, and what libvirt rounds.
bool loses_only_words(const std::vector<Loss>& losses) {
  return std::ranges::all_of(losses, [](const Loss& loss) {
    return loss.minor || loss.why.ends_with("has no word for it") || loss.what.find("launch hash") != std::string::npos;
  });
}

TEST(RoundTrip, ThroughConfigurations) {
  for (u32 seed = 0; seed < domains / 2 && !HasFailure(); ++seed) {
    Dice dice(seed);
    const std::string text = any_config(dice);
    SCOPED_TRACE(text);
    const Vm vm = config_vm(text);
    const Rendered back = to_config(vm, silicon::backend());
    EXPECT_TRUE(back.losses.empty()) << testing::PrintToString(why(back.losses));
    const Vm again = config_vm(back.text);
    expect_same(vm, again);
    EXPECT_EQ(again.launch.hash, vm.launch.hash);
    EXPECT_EQ(again.launch.writable, vm.launch.writable);
    EXPECT_EQ(again.provision, vm.provision);
  }
}

TEST(RoundTrip, FromConfigurationsThroughLibvirtAndQemu) {
  for (u32 seed = 0; seed < domains / 2 && !HasFailure(); ++seed) {
    Dice dice(seed);
    const std::string text = any_config(dice);
    SCOPED_TRACE(text);
    const Vm vm = config_vm(text);
    const Rendered xml = to_libvirt(vm);
    EXPECT_TRUE(loses_only_words(xml.losses)) << testing::PrintToString(why(xml.losses));
    const auto from_xml = from_libvirt(xml.text);
    ASSERT_TRUE(from_xml) << format("xml", from_xml.error());
    EXPECT_EQ(from_xml->vm.clock, vm.clock) << xml.text;
    const auto from_argv = from_qemu(qemu_argv(from_xml->vm));
    ASSERT_TRUE(from_argv) << format("argv", from_argv.error());
    EXPECT_EQ(from_argv->vm.clock.localtime, vm.clock.localtime);
    for (const Vm* const read : {&from_xml->vm, &from_argv->vm}) {
      const Rendered back = to_config(*read, silicon::backend());
      Vm kept = without_launch(vm);
      // What has no word is lost; with a model that means that it is off.
      std::erase_if(kept.cpu.features, [&](const CpuFeature& feature) {
        return of_sgx(feature) && std::ranges::any_of(xml.losses, [&](const Loss& loss) {
                 return loss.what == "feature " + feature.name;
               });
      });
      EXPECT_EQ(facts_of(config_vm(back.text)).features, facts_of(kept).features) << back.text << xml.text;
      EXPECT_EQ(facts_of(config_vm(back.text)).epc, facts_of(kept).epc) << back.text;
      EXPECT_EQ(config_vm(back.text).provision, vm.provision) << back.text;
      EXPECT_EQ(config_vm(back.text).uuid, vm.uuid) << back.text;
    }
  }
}

/// Any damage to a text gives a Vm or one error.
TEST(DamagedInput, IsReadOrRefused) {
  Dice dice(1);
  const Vm vm = any_vm(dice);
  const std::string sources[] = {to_libvirt(vm).text, tests::document_xml, to_qemu(vm).text};
  for (u32 i = 0; i < 6000; ++i) {
    std::string text = dice.one_of(sources);
    for (u32 changes = 1 + dice.below(4); changes > 0; --changes) {
      const u32 at = dice.below(static_cast<u32>(text.size()));
      switch (dice.below(4)) {
        case 0: text[at] = static_cast<char>(dice.below(256)); break;
        case 1: text.erase(at, 1 + dice.below(20)); break;
        case 2: text.insert(at, text.substr(dice.below(static_cast<u32>(text.size())), dice.below(40))); break;
        default: text[at] = dice.one_of(std::string_view("0123456789,=+-'\"<>&{}[]"));
      }
      if (text.empty()) text = "x";
    }
    if (const auto read = from_libvirt(text)) {
      const auto again = from_libvirt(to_libvirt(read->vm).text);
      ASSERT_TRUE(again) << format("xml", again.error()) << "\n" << text;
      to_config(read->vm, silicon::backend());
    }
    if (const auto argv = read_argv(text)) {
      const auto read = from_qemu(*argv);
      ASSERT_TRUE(!read || from_qemu(qemu_argv(read->vm))) << text;
    }
  }
}

}  // namespace
}  // namespace cloister::toolstack::vm
