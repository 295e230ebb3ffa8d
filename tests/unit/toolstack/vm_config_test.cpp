// Configurations as Vm values and back: docs/configuration.md says what a key means.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "interop/vm/formats.hpp"
#include "interop/vm/models.hpp"
#include "interop/vm/provision.hpp"
#include "policy/descriptions.hpp"
#include "silicon/backend.hpp"
#include "unit/toolstack/vm_domains.hpp"

namespace cloister::toolstack::vm {
namespace {

constexpr const char* head = "name = \"d\"\nmemory = 256\nvcpus = 2\nkernel = \"/boot/vmlinuz\"\n";

tl::expected<Vm, Diagnostic> vm_of(const std::string& text) {
  const auto read = read_config(head + text);
  if (!read) return tl::unexpected(read.error());
  return from_config(read->config, silicon::backend());
}

std::vector<std::string> whats_of(const Vm& vm) {
  std::vector<std::string> whats;
  for (const Loss& loss : to_config(vm, silicon::backend()).losses) {
    if (!loss.minor) whats.push_back(loss.what);
  }
  return whats;
}

std::string cpu_of(const std::string& text) {
  const auto vm = vm_of(text);
  if (!vm) return format("error", vm.error());
  const std::vector<std::string> argv = qemu_argv(*vm);
  return *(std::ranges::find(argv, "-cpu") + 1);
}

std::vector<std::string> whats(const Rendered& rendered) {
  std::vector<std::string> list;
  for (const Loss& loss : rendered.losses) list.push_back(loss.what);
  return list;
}

// The document's host is a Coffee Lake (leaf 7 EBX 029c6fbfH, ECX 40000000H): its seven features, and its last line,
// which has no sgx-debug.
TEST(FromConfig, GivesTheDocumentsSevenFeatures) {
  const auto vm = vm_of("silicon = \"coffeelake-client\"\nepc = 64\nsgx_provision = 1\n");
  ASSERT_TRUE(vm) << vm.error().message;
  EXPECT_EQ(vm->cpu.mode, CpuMode::custom);
  EXPECT_EQ(vm->cpu.model, "Skylake-Client-IBRS");
  std::set<std::string> on;
  for (const CpuFeature& feature : vm->cpu.features) {
    EXPECT_EQ(feature.policy, FeaturePolicy::require) << feature.name;
    on.insert(feature.name);
  }
  EXPECT_EQ(on, (std::set<std::string>{"sgx", "sgxlc", "sgx1", "sgx-debug", "sgx-mode64", "sgx-provisionkey",
                                       "sgx-tokenkey"}));
}

TEST(FromConfig, EndsInTheDocumentsCpu) {
  EXPECT_EQ(cpu_of("silicon = \"coffeelake-client\"\nepc = 64\nsgx_provision = 1\ncpuid = \"host,sgx-debug=0\"\n"),
            "Skylake-Client-IBRS,sgx=on,sgx-mode64=on,sgx-provisionkey=on,sgx-tokenkey=on,sgx1=on,sgxlc=on");
}

TEST(FromConfig, LaysOverridesOnWhatTheMachineHas) {
  EXPECT_EQ(cpu_of("epc = 64\n"), "host,sgx=on,sgx-provisionkey=off");
  EXPECT_EQ(cpu_of("epc = 64\nsgx_provision = 1\ncpuid = \"host,sgxlc=0,sse4.2=0,popcnt=1\"\n"),
            "host,popcnt=on,sgx=on,sgx-provisionkey=on,sgxlc=off,sse4.2=off");
  EXPECT_EQ(cpu_of("epc = 64\nsgx_provision = 1\ncpuid = \"host,sgx-provisionkey=0\"\n"),
            "host,sgx=on,sgx-provisionkey=off");
}

// docs/configuration.md, "epc": with 0 the domain has no SGX, not in CPUID either.
TEST(FromConfig, HasNoSgxWithoutEpc) {
  EXPECT_EQ(cpu_of(""), "host,sgx=off");
  EXPECT_EQ(cpu_of("silicon = \"coffeelake-client\"\n"), "Skylake-Client-IBRS");
  EXPECT_EQ(cpu_of("cpuid = \"host,sgx-debug=0\"\n"), "host,sgx=off");
}

TEST(FromConfig, NamesWhatAModelHasAndTheSiliconHasNot) {
  EXPECT_EQ(cpu_of("silicon = \"skylake-client\"\n"), "Skylake-Client-noTSX-IBRS,spec-ctrl=off");
}

TEST(FromConfig, KeepsALibvirtModelWithItsFlags) {
  EXPECT_EQ(cpu_of("silicon = \"Skylake-Server\"\n"), "Skylake-Server");
  EXPECT_EQ(cpu_of("epc = 64\nsilicon = \"Skylake-Client-IBRS\"\n"
                   "cpu_flags = \"sgx,sgx1,sgxlc,sgx-mode64,-avx2,avx512f\"\ncpuid = \"host,sgxlc=0\"\n"),
            "Skylake-Client-IBRS,avx2=off,avx512f=on,sgx=on,sgx-mode64=on,sgx-provisionkey=off,sgx1=on,sgxlc=off");
}

TEST(FromConfig, TakesSectionsPackagesAndLaunchControl) {
  const auto vm = vm_of(
      "epc = [\"size=64,package=5\", \"size=32,package=2\", \"size=16\"]\nlewr = 0\nlehash = "
      "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\n");
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_EQ(vm->epc.size(), 3u);
  EXPECT_EQ(vm->epc[0], (Epc{.kib = 65536, .host_nodes = {5}, .guest_node = 1, .at = {}}));
  EXPECT_EQ(vm->epc[1], (Epc{.kib = 32768, .host_nodes = {2}, .guest_node = 0, .at = {}}));
  EXPECT_EQ(vm->epc[2], (Epc{.kib = 16384, .host_nodes = {}, .guest_node = std::nullopt, .at = {}}));
  EXPECT_EQ(vm->launch.writable, false);
  ASSERT_TRUE(vm->launch.hash);
  EXPECT_EQ((*vm->launch.hash)[0], 0x7766554433221100u);
  EXPECT_EQ(vm->provision, false);
}

TEST(FromConfig, StandsErrorsAtTheKey) {
  EXPECT_EQ(cpu_of("silicon = \"a.dump\"\n"),
            "error:5:11: 'silicon': found a CPUID dump, which no CPU model stands for; expected \"default\", a "
            "description's name or a libvirt model's");
  EXPECT_EQ(cpu_of("silicon = \"skylake-client\"\nepc = 64\ncpuid = \"host,sgxlc=1\"\n").find("error:7:9: 'cpuid'"),
            0u);
  EXPECT_EQ(cpu_of("silicon = \"skylake-client\"\nepc = 64\nlehash = "
                   "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\n")
                .find("error:7:10: 'lehash'"),
            0u);
}

TEST(FromConfig, HasAModelForEachDescription) {
  for (const policy::Description& description : policy::descriptions()) {
    EXPECT_NE(row_of_silicon(description.name), nullptr) << description.name;
  }
  for (const ModelRow& row : model_rows()) EXPECT_NE(policy::find_description(row.silicon), nullptr) << row.silicon;
}

// ------------------------------------------------------------------------------------------------ and back

// What a domain has by name alone is named again, on a processor that has it.
TEST(ToConfig, GivesALibvirtModelBackByItsName) {
  const auto vm =
      vm_of("silicon = \"Skylake-Client-IBRS\"\nepc = 64\ncpu_flags = \"sgx,sgx1,sgx-mode64,sgxlc,-avx2\"\n");
  ASSERT_TRUE(vm.has_value());
  const Rendered rendered = to_config(*vm, silicon::backend());
  EXPECT_EQ(whats(rendered), std::vector<std::string>{});
  for (const char* key : {"silicon = \"Skylake-Client-IBRS\"\n", "cpu_flags = \"sgx,sgx1,sgx-mode64,sgxlc,-avx2"})
    EXPECT_NE(rendered.text.find(key), std::string::npos) << rendered.text;
  EXPECT_EQ(from_config(read_config(rendered.text)->config, silicon::backend()), *vm);
}

TEST(ToConfig, AsksForWhatIsThereByName) {
  const std::string word = "sgx-eupdatesvn";
  for (const char* processor : {"", "silicon = \"icelake-server\"\n"}) {
    const auto vm = vm_of(std::string(processor) + "epc = 64\ncpuid = \"host," + word + "=1\"\n");
    ASSERT_TRUE(vm) << format("cfg", vm.error());
    const Rendered rendered = to_config(*vm, silicon::backend());
    EXPECT_TRUE(rendered.losses.empty()) << whats(rendered).front();
    EXPECT_NE(rendered.text.find(word + "=1"), std::string::npos) << rendered.text;
  }
  auto vm = vm_of("silicon = \"skylake-client\"\nepc = 64\n");
  ASSERT_TRUE(vm);
  put_feature(vm->cpu, word, FeaturePolicy::require);
  const Rendered rendered = to_config(*vm, silicon::backend());
  EXPECT_EQ(whats(rendered), (std::vector<std::string>{"feature " + word}));
  EXPECT_EQ(rendered.text.find(word), std::string::npos) << rendered.text;
}

TEST(ToConfig, WritesWhatWasRead) {
  const std::string text =
      "name = \"d\"\nmemory = 256\nvcpus = 2\nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd\"\n"
      "cmdline = \"console=ttyS0 x=\\\"a\\\\b\\\"\"\nepc = [\"size=64,package=1\", \"size=32,package=0\"]\n"
      "silicon = \"icelake-server\"\ncpuid = \"host,sgx-kss=0,avx2=0\"\n"
      "lehash = \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\nlewr = 0\nsgx_provision = 1\n"
      "localtime = 1\nrtc_timeoffset = \"-3600\"\n";
  const auto read = read_config(text);
  ASSERT_TRUE(read) << read.error().message;
  const auto vm = from_config(read->config, silicon::backend());
  ASSERT_TRUE(vm) << vm.error().message;
  const Rendered rendered = to_config(*vm, silicon::backend());
  EXPECT_EQ(rendered.text, text);
  EXPECT_EQ(whats(rendered), std::vector<std::string>{});
}

TEST(ToConfig, ReplacesNamesAndTellsSo) {
  const auto name_in = [](const std::string& name) {
    Vm vm;
    vm.name = name;
    vm.kernel = "k";
    vm.memory_kib = 64 << 10;
    const Rendered rendered = to_config(vm, silicon::backend());
    const auto read = read_config(rendered.text);
    return read ? std::pair(read->config.name, rendered.losses.size()) : std::pair(read.error().message, std::size_t{});
  };
  EXPECT_EQ(name_in("plain-1"), (std::pair<std::string, std::size_t>("plain-1", 0)));
  EXPECT_EQ(name_in("my vm/\xc3\xa9"), (std::pair<std::string, std::size_t>("my-vm---", 1)));
  EXPECT_EQ(name_in("-x"), (std::pair<std::string, std::size_t>("vm-x", 1)));
  EXPECT_EQ(name_in(""), (std::pair<std::string, std::size_t>("vm", 0)));
  EXPECT_EQ(name_in("17"), (std::pair<std::string, std::size_t>("vm17", 1)));
  const std::string many(129, 'x'), digits(129, '1');
  EXPECT_EQ(name_in(many), (std::pair<std::string, std::size_t>(many.substr(1), 1)));
  EXPECT_EQ(name_in(digits), (std::pair<std::string, std::size_t>("vm" + digits.substr(3), 1)));
}

TEST(ToConfig, ListsWhatADomainCannotHave) {
  Vm vm;
  vm.name = "d";
  vm.kernel = "/k";
  vm.memory_kib = 4 << 10;
  vm.vcpus = 64;
  vm.cpu = {.mode = CpuMode::custom, .model = "EPYC", .features = {}};
  vm.epc = {{.kib = 1000, .host_nodes = {0, 1}, .guest_node = 3, .prealloc = false, .at = {}}};
  put_feature(vm.cpu, "sgx", FeaturePolicy::force);
  put_feature(vm.cpu, "kvm-pv-eoi", FeaturePolicy::require);
  vm.launch.hash = std::array<u64, 4>{1, 2, 3, 4};
  vm.clock = {.localtime = true, .ahead = std::numeric_limits<i64>::min()};
  const Rendered rendered = to_config(vm, silicon::backend());
  const std::vector<std::string> expected = {"4 MiB of memory",
                                             "64 processors",
                                             "1000 KiB of EPC",
                                             "EPC of NUMA nodes 0-1",
                                             "EPC that is not allocated at the start",
                                             "EPC in the guest's node 3",
                                             "CPU model 'EPYC'",
                                             "policy 'force' of feature 'sgx'",
                                             "feature 'kvm-pv-eoi'",
                                             "clock 9223372036854775808 s behind local time"};
  EXPECT_EQ(whats(rendered), expected);
  ASSERT_TRUE(read_config(rendered.text)) << rendered.text;
}

TEST(ToConfig, LosesNodesThatDoNotFollowFromPackages) {
  const auto lost = [](std::vector<Epc> epc) {
    Vm vm = tests::plain_vm();
    vm.epc = std::move(epc);
    return whats(to_config(vm, silicon::backend()));
  };
  const Epc of_3{.kib = 1024, .host_nodes = {3}, .guest_node = 0, .at = {}},
      of_5{.kib = 1024, .host_nodes = {5}, .guest_node = 1, .at = {}},
      of_any{.kib = 1024, .host_nodes = {}, .guest_node = 0, .at = {}},
      elsewhere{.kib = 1024, .host_nodes = {3}, .guest_node = 1, .at = {}};
  using List = std::vector<std::string>;
  EXPECT_EQ(lost({of_5, of_3}), List{});
  EXPECT_EQ(lost({of_3, of_any}), List{});
  EXPECT_EQ(lost({of_3, of_5, of_any}), List{"EPC in the guest's node 0"});
  EXPECT_EQ(lost({elsewhere}), List{"EPC in the guest's node 1"});
}

TEST(ToConfig, KeepsAHashWhereTheSiliconHasLaunchControl) {
  Vm vm = tests::plain_vm();
  vm.epc = {{.kib = 1024, .host_nodes = {}, .guest_node = {}, .at = {}}};
  vm.cpu = {.mode = CpuMode::custom, .model = "Skylake-Client-IBRS", .features = {}};
  for (const char* name : {"sgx", "sgx1"}) put_feature(vm.cpu, name, FeaturePolicy::require);
  vm.launch.hash = std::array<u64, 4>{1, 2, 3, 4};
  EXPECT_NE(to_config(vm, silicon::backend())
                .text.find("lehash = \"0100000000000000020000000000000003000000000000000400000000000000\"\n"),
            std::string::npos);
  EXPECT_EQ(whats(to_config(vm, silicon::backend())), std::vector<std::string>{});
  vm.cpu.model = "Westmere-IBRS";
  EXPECT_EQ(whats(to_config(vm, silicon::backend())), std::vector<std::string>{});  // Gemini Lake has it too
  vm.cpu.model = "Skylake-Client-noTSX-IBRS";
  EXPECT_EQ(whats(to_config(vm, silicon::backend())),
            (std::vector<std::string>{"launch hash "
                                      "01000000000000000200000000000000030000000000000004000000"
                                      "00000000"}));
}

TEST(ToConfig, ChoosesTheSiliconThatHasTheSgx) {
  const auto silicon_of = [](const char* model, std::initializer_list<const char*> on,
                             std::initializer_list<const char*> off) {
    Vm vm = tests::plain_vm();
    vm.epc = {{.kib = 1024, .host_nodes = {}, .guest_node = {}, .at = {}}};
    vm.cpu = {.mode = CpuMode::custom, .model = model, .features = {}};
    for (const char* name : on) put_feature(vm.cpu, name, FeaturePolicy::require);
    for (const char* name : off) put_feature(vm.cpu, name, FeaturePolicy::disable);
    const auto read = read_config(to_config(vm, silicon::backend()).text);
    return read ? read->config.silicon : read.error().message;
  };
  EXPECT_EQ(silicon_of("Icelake-Server", {"sgx", "sgx1"}, {}), "icelake-server");
  EXPECT_EQ(silicon_of("Icelake-Server", {"sgx", "sgx1", "sgx-edeccssa"}, {}), "sapphire-rapids");
  EXPECT_EQ(silicon_of("Skylake-Client-noTSX-IBRS", {"sgx", "sgx1"}, {}), "kabylake-client");
  EXPECT_EQ(silicon_of("Skylake-Client-noTSX-IBRS", {"sgx", "sgx1"}, {"spec-ctrl"}), "skylake-client");
  EXPECT_EQ(silicon_of("Skylake-Client-noTSX-IBRS", {"sgx", "sgx1", "sgxlc"}, {}), "coffeelake-client");
  EXPECT_EQ(silicon_of("SapphireRapids", {"sgx", "sgx1"}, {}), "sapphire-rapids");
  EXPECT_EQ(silicon_of("EPYC", {"sgx", "sgx1"}, {}), "default");
}

TEST(ToConfig, NamesAModelThatNoDescriptionIsLike) {
  Vm vm = tests::plain_vm();
  vm.cpu = {.mode = CpuMode::custom, .model = "Cascadelake-Server", .features = {}};
  put_feature(vm.cpu, "sgx", FeaturePolicy::require);
  EXPECT_EQ(whats_of(vm), (std::vector<std::string>{"feature sgx"})) << "without EPC";
  vm.epc = {{.kib = 1024, .host_nodes = {}, .guest_node = {}, .at = {}}};
  EXPECT_EQ(whats_of(vm), (std::vector<std::string>{"CPU model 'Cascadelake-Server'"}))
      << "sgx without sgx1 makes no enclaves";
  for (const char* name : {"sgx1", "sgxlc", "sgx-mode64"}) put_feature(vm.cpu, name, FeaturePolicy::require);
  put_feature(vm.cpu, "avx2", FeaturePolicy::disable);
  EXPECT_EQ(whats_of(vm), std::vector<std::string>{});
  const auto read = read_config(to_config(vm, silicon::backend()).text);
  ASSERT_TRUE(read) << format("", read.error());
  EXPECT_EQ(read->config.silicon, "Cascadelake-Server");
  const auto again = from_config(read->config, silicon::backend());
  ASSERT_TRUE(again) << format("", again.error());
  EXPECT_EQ(again->cpu.model, vm.cpu.model);
  put_feature(vm.cpu, "sgx-provisionkey", FeaturePolicy::disable);
  for (const CpuFeature& feature : vm.cpu.features) {
    const auto found = std::ranges::find(again->cpu.features, feature.name, &CpuFeature::name);
    ASSERT_NE(found, again->cpu.features.end()) << feature.name;
    EXPECT_EQ(found->policy, feature.policy) << feature.name;
  }
  EXPECT_EQ(again->cpu.features.size(), vm.cpu.features.size());
  put_feature(vm.cpu, "avx512f", FeaturePolicy::require);
  EXPECT_EQ(whats_of(vm), (std::vector<std::string>{"feature avx512f"})) << "not implemented";
}

}  // namespace
}  // namespace cloister::toolstack::vm
