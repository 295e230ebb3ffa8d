// libvirt's domain XML as a Vm and back (https://libvirt.org/formatdomain.html).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "arch/msr.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/words.hpp"
#include "unit/toolstack/vm_domains.hpp"

namespace cloister::toolstack::vm {
namespace {

std::string domain(const std::string& inner) {
  return "<domain type='kvm'>\n<name>d</name><memory>1048576</memory><vcpu>4</vcpu>\n<os><type>hvm</type></os>\n" +
         inner + "\n</domain>";
}

std::string error_of(const std::string& xml) {
  const auto read = from_libvirt(xml);
  return read ? "no error" : format("e", read.error());
}

std::vector<std::string> ignored(const std::string& xml) {
  const auto read = from_libvirt(xml);
  std::vector<std::string> lines;
  if (!read) return {format("e", read.error())};
  for (const Diagnostic& diagnostic : read->ignored) lines.push_back(format("i", diagnostic));
  return lines;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t number = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; ++at) ++number;
  return number;
}

TEST(FromLibvirt, ReadsTheDocumentsDomain) {
  const auto read = from_libvirt(tests::document_xml);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->ignored.empty());
  const Vm& vm = read->vm;
  EXPECT_EQ(vm.name, "instance-00000001");
  EXPECT_EQ(vm.memory_kib, 2u << 20);
  EXPECT_EQ(vm.cpu.model, "Skylake-Client-IBRS");
  EXPECT_EQ(vm.cpu.features.size(), 6u);
  EXPECT_EQ(vm.cpu.features.front(), (CpuFeature{.name = "sgx", .policy = FeaturePolicy::require, .at = {}}));
  EXPECT_EQ(vm.cpu.features.front().at, (Position{.line = 11, .column = 5}));
  EXPECT_EQ(vm.provision, true);
}

// What libvirt keeps of a domain that runs has its XML inside (/run/libvirt/qemu/NAME.xml).
TEST(FromLibvirt, ReadsTheDomainInsideItsStatus) {
  const auto read = from_libvirt("<domstatus state='running'>" + std::string(tests::document_xml) + "</domstatus>");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.name, "instance-00000001");
}

TEST(FromLibvirt, LeavesTheDocumentsCpuOnce) {
  const auto read = from_libvirt(tests::document_xml);
  ASSERT_TRUE(read);
  const std::vector<std::string> argv = qemu_argv(read->vm);
  EXPECT_EQ(std::ranges::count(argv, "-cpu"), 1);
  EXPECT_EQ(*(std::ranges::find(argv, "-cpu") + 1), tests::document_cpu);
}

// As libvirt's own test data has it: memory devices are part of <memory>, cells are not.
TEST(FromLibvirt, CountsEpcInMemory) {
  const std::string devices =
      "<devices><memory model='sgx-epc'><source><nodemask>0-1,4</nodemask></source><target><size "
      "unit='MiB'>64</size><node>0</node></target></memory></devices>";
  auto read = from_libvirt(domain(devices));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.memory_kib, 1048576u - 65536);
  ASSERT_EQ(read->vm.epc.size(), 1u);
  EXPECT_EQ(read->vm.epc[0], (Epc{.kib = 65536, .host_nodes = {0, 1, 4}, .guest_node = 0, .at = {}}));
  read = from_libvirt(domain("<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB'/></numa></cpu>" + devices));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.memory_kib, 524288u);
  EXPECT_EQ(read->vm.cpu.mode, CpuMode::unspecified);
  EXPECT_TRUE(read->ignored.empty());
}

TEST(FromLibvirt, UnderstandsSpellingsPoliciesAndModes) {
  const auto read = from_libvirt(domain(
      "<cpu mode='host-passthrough'><feature name='pclmuldq'/><feature policy='force' name='tsc_adjust'/>"
      "<feature policy='optional' name='vmx-ins-outs'/><feature policy='forbid' name='sgx-provisionkey'/></cpu>"));
  ASSERT_TRUE(read) << read.error().message;
  const std::vector<CpuFeature> expected = {{"pclmulqdq", FeaturePolicy::require, {}},
                                            {"tsc_adjust", FeaturePolicy::force, {}},
                                            {"vmx-ins-outs", FeaturePolicy::optional, {}},
                                            {"sgx-provisionkey", FeaturePolicy::forbid, {}}};
  EXPECT_EQ(read->vm.cpu.features, expected);
  EXPECT_EQ(read->vm.provision, false);
  EXPECT_EQ(read->vm.cpu.mode, CpuMode::host_passthrough);
}

// libvirt itself writes a <model> without a name for host-model, and takes units in any case.
TEST(FromLibvirt, TakesWhatLibvirtTakes) {
  const auto read = from_libvirt(domain("<cpu mode='host-model'><model fallback='allow'/></cpu>"));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.cpu, (Cpu{.mode = CpuMode::host_model, .model = {}, .features = {}}));
  EXPECT_EQ(error_of(domain("<cpu mode='custom'><model/></cpu>")), "e:4:1: 'cpu' has mode 'custom' and no 'model'");
  const std::pair<const char*, u64> units[] = {{"mib", 1 << 20}, {"g", 1 << 30}, {"Gb", 1'000'000'000},
                                               {"BYTES", 1},     {"k", 1 << 10}, {"TIB", u64{1} << 40},
                                               {"kb", 1000},     {"byte", 1},    {"PiB", u64{1} << 50}};
  for (const auto& [unit, bytes] : units) EXPECT_EQ(bytes_of_unit(unit), bytes) << unit;
  for (const char* none : {"", "x", "kibi", "gg"}) EXPECT_EQ(bytes_of_unit(none), std::nullopt) << none;
}

// Processors of several nodes stay where they are, on the way to QEMU and back.
TEST(FromLibvirt, KeepsTheProcessorsOfItsNodes) {
  const auto read = from_libvirt(
      domain("<cpu mode='host-passthrough'><numa><cell id='1' cpus='1,3' memory='262144'/><cell id='0' cpus='0,2' "
             "memory='524288'/></numa></cpu>"));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->ignored.empty());
  const std::vector<GuestNode> nodes = {{524288, {0, 2}}, {262144, {1, 3}}};
  EXPECT_EQ(read->vm.nodes, nodes);
  EXPECT_EQ(from_libvirt(to_libvirt(read->vm).text)->vm.nodes, nodes);
  const std::vector<std::string> argv = qemu_argv(read->vm);
  EXPECT_THAT(argv, testing::Contains("node,nodeid=1,cpus=1,cpus=3,memdev=ram-node1"));
  EXPECT_EQ(from_qemu(argv)->vm.nodes, nodes);
  EXPECT_EQ(error_of(domain("<cpu><numa><cell id='1' memory='1024'/></numa></cpu>")), "e:4:6: the cell 0 is missing");
  EXPECT_EQ(error_of(domain("<cpu><numa><cell id='0' memory='1024'/><cell id='0' memory='1024'/></numa></cpu>")),
            "e:4:40: the cell 0 is there twice");
}

// As libvirt takes and refuses them: a cell may be without RAM, and no processor in two.
TEST(FromLibvirt, ANodeMayHaveNoRam) {
  const auto numa = [](const char* cells) {
    return domain(std::string("<cpu mode='host-passthrough'><numa>") + cells + "</numa></cpu>");
  };
  const auto read = from_libvirt(numa("<cell id='0' cpus='0-3' memory='262144'/><cell id='1' memory='0'/>"));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.nodes, (std::vector<GuestNode>{{262144, {0, 1, 2, 3}}, {0, {}}}));
  EXPECT_EQ(from_libvirt(to_libvirt(read->vm).text)->vm.nodes, read->vm.nodes);
  EXPECT_EQ(from_qemu(qemu_argv(read->vm))->vm.nodes, read->vm.nodes);
  EXPECT_EQ(to_libvirt(read->vm).losses.front().what, "NUMA node 1 without RAM");
  EXPECT_THAT(error_of(numa("<cell id='0' memory='0'/>")), testing::HasSubstr("found 0 KiB of RAM, expected"));
  EXPECT_THAT(error_of(numa("<cell id='0' cpus='0-2' memory='1024'/><cell id='1' cpus='2-3' memory='1024'/>")),
              testing::HasSubstr("the processor 2 is in two cells"));
  EXPECT_THAT(error_of(numa("<cell id='0' cpus='0-4' memory='1024'/>")),
              testing::HasSubstr("processor 4, expected 3 at most"));
}

TEST(ToLibvirt, NamesAreThoseOfFiles) {
  Vm vm = from_libvirt(domain(""))->vm;
  const auto written = [&](const std::string& name) {
    vm.name = name;
    const Rendered rendered = to_libvirt(vm);
    return from_libvirt(rendered.text)->vm.name + (rendered.losses.empty() ? "" : " lost");
  };
  EXPECT_EQ(written("a.b"), "a.b");
  EXPECT_EQ(written("."), "domain lost");
  EXPECT_EQ(written(".."), "domain lost");
  EXPECT_EQ(written(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(written(std::string(201, 'x')), std::string(200, 'x') + "… lost");
}

TEST(FromLibvirt, TakesGuestsOf32Bits) {
  const std::string start = "<domain type='kvm'><name>d</name><memory>1048576</memory>";
  EXPECT_EQ(ignored(start + "<os><type arch='i686'>hvm</type></os></domain>"),
            std::vector<std::string>{"i:1:62: arch='i686' is ignored: the processor has its 64-bit mode"});
  EXPECT_EQ(error_of(domain("<cpu><arch>ppc64</arch></cpu>")),
            "e:4:6: 'arch' of 'cpu': found 'ppc64', expected 'x86_64' or 'i686'");
}

TEST(FromLibvirt, TheMachineThatIsNotNamedIsPc) {
  const auto read = from_libvirt(domain(""));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->vm.machine, "pc");
  EXPECT_EQ(from_qemu({"-m", "512"})->vm.machine, "pc");
}

TEST(FromLibvirt, TellsWhatIsIgnored) {
  EXPECT_EQ(ignored(domain("<clock offset='utc'/><devices><input type='mouse'/><disk type='file'/></devices>\n"
                           "<memoryBacking/>")),
            (std::vector<std::string>{"i:4:52: 'disk' in 'devices' is ignored",
                                      "i:5:1: 'memoryBacking' in 'domain' is ignored"}));
  // The document's first attempt.
  EXPECT_EQ(
      ignored(domain("<cpu><model>EPYC</model></cpu><qemu:commandline><qemu:arg value='-cpu'/>"
                     "<qemu:arg value='host,+sgx'/><qemu:env name='A'/><qemu:arg value='-usb'/></qemu:commandline>")),
      (std::vector<std::string>{"i:4:1: what 'cpu' says of the processor is ignored: a '-cpu' takes its place",
                                "i:4:102: 'qemu:env' in 'qemu:commandline' is ignored",
                                "i:4:122: the option '-usb' is ignored"}));
}

std::string arguments(std::initializer_list<const char*> words) {
  std::string xml = "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>";
  for (const char* word : words) xml += "\n<q:arg value='" + std::string(word) + "'/>";
  return xml + "</q:commandline>";
}

// intel/qemu-sgx#5: what goes past libvirt is the domain's all the same.
TEST(FromLibvirt, ArgumentsForQemuBelongToTheDomain) {
  const auto read =
      from_libvirt(domain("<cpu mode='host-model'/>" +
                          arguments({"-cpu", "host,+sgx,-sgx-provisionkey", "-object",
                                     "memory-backend-epc,id=m,size=64M,prealloc=on", "-M", "sgx-epc.0.memdev=m"})));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vm.type, "kvm");
  EXPECT_EQ(read->vm.memory_kib, 1048576u) << "libvirt does not count it";
  ASSERT_EQ(read->vm.epc.size(), 1u);
  EXPECT_EQ(read->vm.epc[0], (Epc{.kib = 65536, .host_nodes = {}, .guest_node = {}, .at = {}}));
  EXPECT_EQ(read->vm.epc[0].at, (Position{7, 1}));
  EXPECT_EQ(read->vm.cpu.mode, CpuMode::host_passthrough);
  EXPECT_EQ(read->vm.provision, false);
  ASSERT_EQ(read->vm.cpu.features.size(), 2u);
  EXPECT_EQ(read->vm.cpu.features[0].at, (Position{5, 1}));
  EXPECT_THAT(to_libvirt(read->vm).text, testing::HasSubstr("<memory model='sgx-epc'>"));
}

TEST(ToLibvirt, TellsWhatLibvirtRounds) {
  Vm vm = tests::plain_vm();
  for (const u64 kib : {1024, 65536}) {
    vm.epc = {{.kib = kib, .host_nodes = {}, .guest_node = {}, .at = {}}};
    const Rendered rendered = to_libvirt(vm);
    EXPECT_EQ(rendered.losses.size(), kib == 1024 ? 1u : 0u);
    EXPECT_NE(rendered.text.find(std::to_string(kib) + "</size>"), std::string::npos);
    if (kib == 1024) {
      EXPECT_EQ(rendered.losses.front(),
                (Loss{"the exact size of an EPC section of 1024 KiB", "libvirt gives the guest 2048 KiB", true}));
    }
  }
}

// -accel tcg, no accelerator, <domain type='qemu'>: nothing of SGX is there to be had.
TEST(ToLibvirt, SgxWithoutKvmIsALoss) {
  Vm vm = tests::plain_vm();
  vm.type = "qemu";
  vm.cpu = {.mode = CpuMode::custom,
            .model = "Skylake-Client",
            .features = {{"sgx", FeaturePolicy::require, {}}, {"avx2", FeaturePolicy::require, {}}}};
  vm.epc = {{.kib = 65536, .host_nodes = {}, .guest_node = {}, .at = {}}};
  for (const auto to : {to_libvirt, to_qemu, to_nova}) {
    const Rendered rendered = to(vm);
    ASSERT_EQ(rendered.losses.size(), 1u) << rendered.losses.back().what;
    EXPECT_EQ(rendered.losses[0].what, "SGX without KVM");
    EXPECT_EQ(rendered.text.find("sgx"), std::string::npos) << rendered.text;
    EXPECT_NE(rendered.text.find("avx2"), std::string::npos) << rendered.text;
  }
}

TEST(FromLibvirt, EpcOfArgumentsComesBehindTheXmls) {
  const std::string devices =
      "<devices><memory model='sgx-epc'><target><size unit='MiB'>64</size></target></memory></devices>";
  const char* const object = "memory-backend-epc,id=m,size=8M,prealloc=on";
  const auto read = from_libvirt(domain(devices + arguments({"-object", object, "-M", "sgx-epc.1.memdev=m"})));
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->vm.epc.size(), 2u);
  EXPECT_EQ(read->vm.epc[1].kib, 8192u);
  EXPECT_EQ(read->vm.cpu, Cpu());
  EXPECT_EQ(error_of(domain(devices + arguments({"-object", object, "-M", "sgx-epc.0.memdev=m"}))),
            "e:7:1: found sgx-epc.0 a second time");
}

TEST(FromLibvirt, TakesTheClock) {
  const auto clock = [](const std::string& attributes) {
    const auto read = from_libvirt(domain("<clock " + attributes + "><timer name='rtc'/></clock>"));
    EXPECT_TRUE(read && read->ignored.empty()) << attributes;
    return read ? read->vm.clock : Clock{};
  };
  EXPECT_EQ(clock(""), Clock());
  EXPECT_EQ(clock("offset='utc'"), Clock());
  EXPECT_EQ(clock("offset='localtime'"), (Clock{.localtime = true, .ahead = 0}));
  EXPECT_EQ(clock("offset='localtime' adjustment='reset'"), (Clock{.localtime = true, .ahead = 0}));
  EXPECT_EQ(clock("offset='variable'"), Clock());
  EXPECT_EQ(clock("offset='variable' adjustment='-3600' basis='utc'"), (Clock{.localtime = false, .ahead = -3600}));
  EXPECT_EQ(clock("offset='variable' adjustment='+60' basis='localtime'"), (Clock{.localtime = true, .ahead = 60}));
  // libvirt makes 'variable' of it.
  EXPECT_EQ(clock("offset='localtime' adjustment='7'"), (Clock{.localtime = true, .ahead = 7}));
  EXPECT_EQ(ignored(domain("<clock offset='timezone' timezone='Europe/Paris'/>")),
            (std::vector<std::string>{"i:4:1: offset='timezone' of 'clock' is ignored: the clock has UTC"}));
  EXPECT_EQ(error_of(domain("<clock offset='noon'/>")),
            "e:4:1: 'offset' of 'clock': found 'noon', expected 'utc', 'localtime', 'variable', 'timezone' or "
            "'absolute'");
  EXPECT_EQ(error_of(domain("<clock offset='variable' basis='noon'/>")),
            "e:4:1: 'basis' of 'clock': found 'noon', expected 'utc' or 'localtime'");
  EXPECT_EQ(error_of(domain("<clock offset='variable' adjustment='1h'/>")),
            "e:4:1: 'adjustment' of 'clock': found '1h', expected seconds, such as '-3600'");
}

TEST(FromLibvirt, TakesAUuidInItsCanonicalForm) {
  const auto uuid = [](const std::string& text) {
    const auto read = from_libvirt(domain("<uuid>" + text + "</uuid>"));
    return read ? read->vm.uuid : format("e", read.error());
  };
  EXPECT_EQ(uuid("C7A5fdbd-edaf-9455-926a-d65c16db1809"), "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(uuid("c7a5fdbdedaf9455926aD65C16DB1809"), "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(uuid("00000000-0000-0000-0000-000000000000"), "");
  EXPECT_EQ(uuid("c7a5fdbd-edaf"), "e:4:1: 'uuid': found 'c7a5fdbd-edaf', expected 32 hexadecimal digits");
}

// QEMU's microvm takes EPC and passes over it, whoever says which machine it is.
TEST(FromLibvirt, AMachineWithoutEpcIsAnErrorWhereItStands) {
  const std::string epc = "<devices><memory model='sgx-epc'><target><size>65536</size></target></memory></devices>";
  std::string xml = domain(epc);
  xml.replace(xml.find("<type>"), 6, "<type machine='microvm'>");
  EXPECT_EQ(error_of(xml), "e:4:10: EPC of the machine 'microvm', which gives its guests none: expected 'q35' or 'pc'");
  EXPECT_THAT(error_of(domain(arguments({"-m", "64M", "-M", "microvm"}) + epc)),
              testing::StartsWith("e:7:1: EPC of the machine 'microvm'"));
  EXPECT_EQ(error_of(domain(arguments({"-M", "microvm"}))), "no error");
}

TEST(FromLibvirt, StandsErrorsAtAPlace) {
  EXPECT_EQ(error_of(domain("<devices><memory model='sgx-epc'><target><size>64</size><node>1</node></target></memory>"
                            "</devices>")),
            "e:4:10: EPC in node 1, but there is no 'numa'");
  EXPECT_EQ(error_of(""), "e:1:1: this is no XML: No document element found");
  EXPECT_EQ(error_of("<a/>"), "e:1:1: found the element 'a', expected 'domain'");
  EXPECT_EQ(error_of("<domstatus><a/></domstatus>"), "e:1:1: found no 'domain' in 'domstatus', expected 'domain'");
  const std::string one = "<domain type='kvm'/>",
                    both = "<domainsnapshot>" + one + "<inactiveDomain/></domainsnapshot>";
  EXPECT_EQ(error_of(both), "e:1:37: found a second <domain> ('inactiveDomain'), expected one in a file");
  EXPECT_EQ(error_of("<domains>" + one + one + "</domains>"), "e:1:1: found the element 'domains', expected 'domain'");
  EXPECT_THAT(error_of("<domainCapabilities/>"), testing::HasSubstr("found libvirt's domain capabilities, expected"));
  std::string many;
  for (std::size_t i = 0; i <= most_features; ++i) many += "<feature name='f" + std::to_string(i) + "'/>";
  EXPECT_NE(error_of("<domain type='kvm'><cpu>" + many + "</cpu></domain>").find("'cpu' has 4096 features at most"),
            std::string::npos);
  EXPECT_EQ(error_of("<domain type='xen'/>"), "e:1:1: 'type' of 'domain': found 'xen', expected 'kvm' or 'qemu'");
  EXPECT_EQ(error_of("<domain type='kvm'/>"), "e:1:1: the element 'name' is missing");
  EXPECT_EQ(error_of(domain("<cpu mode='custom'/>")), "e:4:1: 'cpu' has mode 'custom' and no 'model'");
  EXPECT_EQ(error_of(domain("<cpu>\n <feature name='sgx'/>\n <feature name='sgx'/></cpu>")),
            "e:6:2: the feature 'sgx' is there twice");
  EXPECT_EQ(error_of(domain("<cpu><feature policy='perhaps' name='sgx'/></cpu>")),
            "e:4:6: 'policy' of 'feature': found 'perhaps', expected 'force', 'require', 'optional', 'disable' or "
            "'forbid'");
  EXPECT_EQ(error_of(domain("<cpu><feature name='a,b=on'/></cpu>")),
            "e:4:6: 'name' of 'feature': found 'a,b=on', expected a CPU feature's name");
  EXPECT_EQ(error_of(domain("<devices><memory model='sgx-epc'><target><size unit='acre'>1</size></target></memory>"
                            "</devices>")),
            "e:4:42: 'size': found 'acre', expected a unit such as 'KiB', 'MiB' or 'GiB'");
  EXPECT_EQ(error_of(domain("<devices><memory model='sgx-epc'><target><size unit='GiB'>1</size></target></memory>"
                            "</devices>")),
            "e:2:15: 'memory': found 1048576 KiB, expected more than the 1048576 KiB of the memory devices, which are "
            "part of it");
  EXPECT_EQ(error_of("<domain type='kvm'>\n<name>\x1b[31m"), "e:2:11: this is no XML: Start-end tags mismatch");
}

TEST(ToLibvirt, WritesEpcAsLibvirtWantsIt) {
  Vm vm;
  vm.name = "d<&>'";
  vm.memory_kib = 512 << 10;
  vm.vcpus = 3;
  vm.kernel = "/boot/vmlinuz";
  vm.cpu.mode = CpuMode::host_passthrough;
  vm.provision = false;
  put_feature(vm.cpu, "sgx", FeaturePolicy::require);
  vm.epc = {{.kib = 65536, .host_nodes = {0, 1, 3}, .guest_node = 1, .at = {}},
            {.kib = 32768, .host_nodes = {}, .guest_node = std::nullopt, .at = {}}};
  const Rendered rendered = to_libvirt(vm);
  EXPECT_TRUE(rendered.losses.empty());
  EXPECT_EQ(rendered.text, R"(<domain type='kvm'>
  <name>d&lt;&amp;&gt;'</name>
  <maxMemory unit='KiB' slots='2'>622592</maxMemory>
  <memory unit='KiB'>622592</memory>
  <vcpu>3</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/boot/vmlinuz</kernel>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='host-passthrough'>
    <feature policy='require' name='sgx'/>
    <feature policy='disable' name='sgx-provisionkey'/>
    <numa>
      <cell id='0' cpus='0-1' memory='262144' unit='KiB'/>
      <cell id='1' cpus='2' memory='262144' unit='KiB'/>
    </numa>
  </cpu>
  <devices>
    <serial type='pty'/>
    <console type='pty'/>
    <memory model='sgx-epc'>
      <source>
        <nodemask>0-1,3</nodemask>
      </source>
      <target>
        <size unit='KiB'>65536</size>
        <node>1</node>
      </target>
    </memory>
    <memory model='sgx-epc'>
      <target>
        <size unit='KiB'>32768</size>
      </target>
    </memory>
  </devices>
</domain>
)");
}

TEST(ToLibvirt, ListsWhatLibvirtCannotSay) {
  Vm vm;
  vm.name = "a/b\x01";
  vm.memory_kib = 512 << 10;
  vm.kernel = "boot/vmlinuz";
  vm.cpu = {.mode = CpuMode::custom, .model = "Icelake-Server", .features = {}};
  for (const char* name : {"sgx", "sgxlc", "sgx-edeccssa", "sgx-aex-notify", "sgx-oss"})
    put_feature(vm.cpu, name, FeaturePolicy::require);
  put_feature(vm.cpu, "sgx-enclv", FeaturePolicy::disable);  // which no model has
  vm.launch = {.hash = std::array<u64, 4>{1, 0, 0, 0}, .writable = false};
  vm.epc = {{.kib = 1024, .host_nodes = {}, .guest_node = {}, .prealloc = false, .at = {}}};
  const Rendered rendered = to_libvirt(vm);
  std::vector<std::string> lines;
  for (const Loss& loss : rendered.losses) lines.push_back(loss.what + ": " + loss.why);
  const std::vector<std::string> expected = {
      "name 'a/b?': XML cannot hold some of its characters",
      "name 'a/b?': libvirt takes no '/' and no line ends in names",
      "kernel 'boot/vmlinuz': libvirt takes absolute paths only",
      "feature sgx-edeccssa: libvirt 9.0 has no word for it",
      "feature sgx-aex-notify: libvirt 9.0 has no word for it",
      "feature sgx-oss: libvirt 9.0 has no word for it",
      "the exact size of an EPC section of 1024 KiB: libvirt gives the guest 2048 KiB",
      "EPC that is not allocated at the start: libvirt always has QEMU allocate it",
      "launch hash 0100000000000000000000000000000000000000000000000000000000000000: libvirt cannot set "
      "IA32_SGXLEPUBKEYHASH, and a guest starts with Intel's",
      "a launch hash that the guest may not write: libvirt lets each guest with 'sgxlc' write it"};
  EXPECT_EQ(lines, expected);
  const auto read = from_libvirt(rendered.text);
  ASSERT_TRUE(read) << rendered.text;
  EXPECT_EQ(read->vm.name, "a-b?");
  EXPECT_EQ(count(rendered.text, "<feature "), 2u);
}

TEST(ToLibvirt, WritesTheClock) {
  const auto written = [](Clock clock) {
    Vm vm = tests::plain_vm();
    vm.clock = clock;
    const Rendered rendered = to_libvirt(vm);
    EXPECT_TRUE(rendered.losses.empty());
    return rendered.text;
  };
  EXPECT_EQ(count(written({}), "<clock"), 0u);
  EXPECT_EQ(count(written({.localtime = true, .ahead = 0}), "<clock offset='localtime'/>"), 1u);
  EXPECT_EQ(
      count(written({.localtime = false, .ahead = -60}), "<clock offset='variable' adjustment='-60' basis='utc'/>"),
      1u);
  EXPECT_EQ(
      count(written({.localtime = true, .ahead = 60}), "<clock offset='variable' adjustment='60' basis='localtime'/>"),
      1u);
}

TEST(ToLibvirt, TakesIntelsHashForGranted) {
  Vm vm = tests::plain_vm();
  vm.cpu = {.mode = CpuMode::custom, .model = "Icelake-Server", .features = {}};
  put_feature(vm.cpu, "sgxlc", FeaturePolicy::require);
  vm.launch = {.hash = arch::msr::intel_lepubkeyhash, .writable = true};
  EXPECT_TRUE(to_libvirt(vm).losses.empty());
}

}  // namespace
}  // namespace cloister::toolstack::vm
