// Each rule of lint finds its mistake where it stands, and nothing in a file without it (docs/cpu-lint.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include "interop/lint/rules.hpp"
#include "interop/vm/qemu_models.hpp"

namespace cloister::toolstack::lint {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

/// What rules know beside the file.
struct By {
  const policy::HostView* host = nullptr;
  const policy::SgxReport* report = nullptr;
  const policy::CpuMap* map = nullptr;
};

/// "rule@line:column".
std::vector<std::string> found(std::string_view text, const By& by = {}) {
  const auto subject = read_subject(text);
  EXPECT_TRUE(subject.has_value()) << text << (subject ? "" : format("", subject.error()));
  if (!subject) return {};
  std::vector<std::string> result;
  for (const Finding& f : lint({*subject, by.host, by.report, by.map}))
    result.push_back(std::string(f.rule) + "@" + std::to_string(f.at.line) + ":" + std::to_string(f.at.column));
  return result;
}

std::string refusal(std::string_view text) {
  const auto subject = read_subject(text);
  return subject ? "none" : format("f", subject.error());
}

std::string message(std::string_view text, std::string_view rule, const By& by = {}) {
  const auto subject = read_subject(text);
  if (!subject) return {};
  for (const Finding& f : lint({*subject, by.host, by.report, by.map}))
    if (f.rule == rule) return f.message + " | " + f.mend;
  return {};
}

// The document's end: one -cpu, with all flags. Its guests have EPC.
const std::string good_cpu =
    "  <cpu mode='custom' match='exact'>\n"
    "    <model>Skylake-Client-IBRS</model>\n"
    "    <feature policy='require' name='sgx'/>\n"
    "    <feature policy='require' name='sgxlc'/>\n"
    "    <feature policy='require' name='sgx1'/>\n"
    "    <feature policy='require' name='sgx-provisionkey'/>\n"
    "    <feature policy='require' name='sgx-mode64'/>\n"
    "  <numa><cell id='0' memory='1' unit='GiB'/></numa></cpu>\n";
const std::string one_cell = "<numa><cell id='0' memory='1' unit='GiB'/></numa>";
const std::string good_epc = "  <memory model='sgx-epc'><target><size unit='MiB'>64</size></target></memory>\n";

std::string domain(const std::string& cpu, const std::string& devices, const std::string& more = "") {
  return "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
         "<maxMemory slots='1' unit='GiB'>2</maxMemory>\n" +
         cpu + " <devices>\n" + devices + " </devices>\n" + more + "</domain>\n";
}

const std::string good_xml = domain(good_cpu, good_epc);
const std::string good_nova =
    "[libvirt]\ncpu_mode = custom\ncpu_models = Skylake-Client-IBRS\ncpu_model_extra_flags = "
    "sgx,sgxlc,sgx1,-hle,sgx-mode64\n";
const std::string good_argv =
    "qemu-system-x86_64 -accel kvm -cpu Skylake-Client-IBRS,sgx=on,sgx-mode64=on,sgx1=on,sgxlc=on,kvm=off,level=22 "
    "-object memory-backend-epc,id=epc0,size=64M,prealloc=on -M q35,sgx-epc.0.memdev=epc0,sgx-epc.0.node=0";

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, text.npos) << what;
  return at == text.npos ? text : text.replace(at, what.size(), by);
}

TEST(Lint, FindsNothingInWhatIsRight) {
  EXPECT_THAT(found(good_xml), IsEmpty());
  EXPECT_THAT(found(good_nova), IsEmpty());
  EXPECT_THAT(found(good_argv), IsEmpty());
  EXPECT_THAT(found("<domain type='kvm'><cpu mode='host-passthrough'/></domain>"), IsEmpty());
  EXPECT_THAT(found("<domain type='kvm'/>"), IsEmpty());
  EXPECT_THAT(found("[libvirt]\nvirt_type = kvm\n"), IsEmpty());
  EXPECT_THAT(found("qemu-system-x86_64 -cpu host,migratable=off,hv-time,+vmx,-hle -m 512 -nographic"), IsEmpty());
}

// The document's first attempt, by the block that Intel's guide has.
const std::string document_block =
    " <qemu:commandline>\n"
    "  <qemu:arg value='-cpu'/>\n"
    "  <qemu:arg value='host,+sgx,+sgxlc'/>\n"
    "  <qemu:arg value='-object'/>\n"
    "  <qemu:arg value='memory-backend-epc,id=mem1,size=64M,prealloc'/>\n"
    "  <qemu:arg value='-sgx-epc'/>\n"
    "  <qemu:arg value='id=epc1,memdev=mem1'/>\n"
    " </qemu:commandline>\n";

TEST(Lint, TheDocumentsFirstAttemptHasASecondCpuThatOverridesTheModel) {
  const std::string xml =
      domain(" <cpu mode='custom' match='exact'>\n  <model>Skylake-Client-IBRS</model>\n </cpu>\n", "", document_block);
  EXPECT_THAT(found(xml),
              ElementsAre("overridden-model@2:2", "duplicate-cpu@9:3", "epc-past-libvirt@11:3", "old-sgx-epc@12:3"));
  EXPECT_THAT(message(xml, "overridden-model"),
              HasSubstr("'Skylake-Client-IBRS' has no effect: a later -cpu says 'host'"));
  EXPECT_THAT(message(xml, "old-sgx-epc"), HasSubstr("<memory model='sgx-epc'>"));
}

TEST(Lint, TheDocumentsProcessHasTwoCpus) {
  constexpr char bytes[] = "qemu-kvm\0-cpu\0Skylake-Client-IBRS\0-cpu\0host,+sgx,+sgxlc\0-enable-kvm";
  const std::string_view cmdline(bytes, sizeof bytes);
  EXPECT_THAT(found(cmdline), ElementsAre("overridden-model@2:0", "duplicate-cpu@4:0", "flags-without-epc@4:0"));
}

TEST(Lint, AListingOfArgumentsNeedsNoProgram) {
  EXPECT_THAT(found("-cpu\nSkylake-Client-IBRS\n-cpu\nhost,+sgx,+sgxlc\n"),
              ElementsAre("overridden-model@2:0", "duplicate-cpu@4:0", "flags-without-epc@4:0"));
}

TEST(Lint, ModelOfACpuThatIsRepeatedAlikeIsNotOverridden) {
  EXPECT_THAT(found("qemu -accel kvm -cpu host -cpu host"), ElementsAre("duplicate-cpu@6:0"));
}

TEST(Lint, AnOptionAndItsValueInOneArgument) {
  const std::string xml = domain(" <cpu mode='host-passthrough'/>\n", "",
                                 " <qemu:commandline>\n  <qemu:arg value='-cpu host,+sgx'/>\n </qemu:commandline>\n");
  EXPECT_THAT(found(xml), ElementsAre("joined-argument@6:3"));
  EXPECT_THAT(message(xml, "joined-argument"), HasSubstr("as two <qemu:arg>"));
  EXPECT_THAT(found("qemu -accel kvm -cpu host -append '-cpu host'"), IsEmpty()) << "a value is no option";
}

TEST(Lint, AnOptionAndItsValueWithAnEqualsSignBetween) {
  const std::string argv = replaced(good_argv, "-cpu ", "-cpu=");
  EXPECT_THAT(found(argv), Contains("joined-argument@3:0")) << "QEMU 7.2: '-cpu=max: invalid option'";
  EXPECT_THAT(found(argv), Not(Contains(HasSubstr("refused-epc")))) << "it takes no other option for its value";
  const std::string xml = domain(" <cpu mode='host-passthrough'/>\n", "",
                                 " <qemu:commandline>\n  <qemu:arg value='-cpu=host,+sgx'/>\n </qemu:commandline>\n");
  EXPECT_THAT(found(xml), ElementsAre("joined-argument@6:3"));
}

// QEMU 7.2: 'The -accel and "-machine accel=" options are incompatible'.
TEST(Lint, AnAcceleratorInTwoOptions) {
  for (const char* more : {" -M accel=tcg", " -machine q35,accel=kvm", " -enable-kvm", " -no-kvm"}) {
    EXPECT_THAT(found(good_argv + more), ElementsAre(StartsWith("two-accelerators@"))) << more;
    EXPECT_THAT(found(replaced(good_argv, "-accel kvm", more)), Not(Contains(HasSubstr("two-acc")))) << more;
  }
  EXPECT_THAT(found(good_argv + " -accel tcg"), IsEmpty()) << "the next one is tried if the first cannot be had";
  for (const char* argument : {"-enable-kvm", "-M' /> <qemu:arg value='accel=kvm:tcg"}) {
    const std::string more = std::string(" <qemu:commandline><qemu:arg value='") + argument + "'/></qemu:commandline>";
    EXPECT_THAT(found(domain(good_cpu, good_epc, more)), ElementsAre(StartsWith("two-accelerators@"))) << argument;
    EXPECT_THAT(found(domain("", "", more)), IsEmpty()) << "nothing is asked of SGX";
  }
}

// QEMU 7.2: "Parameter 'sgx' expects 'on' or 'off'".
TEST(Lint, AValueThatIsNeitherOnNorOff) {
  for (const char* odd : {"sgx=maybe", "sgx=1", "sgx=ON", "+sgx=on", "sgx="}) {
    const std::string argv = replaced(good_argv, "sgx=on", odd);
    EXPECT_THAT(found(argv), Contains("odd-value@4:0")) << odd;
    EXPECT_THAT(message(argv, "odd-value"), HasSubstr(odd));
  }
  for (const char* good : {"sgx=yes", "sgx=true", "sgx=y", "sgx"})
    EXPECT_THAT(found(replaced(good_argv, "sgx=on", good)), IsEmpty()) << good;
  EXPECT_TRUE(read_subject("qemu -cpu host,sgx=maybe")->asks_for_sgx());
}

// libvirt 9.0: "CPU feature 'sgx' specified more than once".
TEST(Lint, AFlagThatIsThereTwice) {
  const std::string sgx = "    <feature policy='require' name='sgx'/>\n";
  const std::string xml = replaced(good_xml, sgx, sgx + sgx);
  EXPECT_THAT(found(xml), ElementsAre("repeated-flag@5:5"));
  EXPECT_THAT(message(xml, "repeated-flag"), HasSubstr("'sgx' is there twice"));
  EXPECT_THAT(found(replaced(good_argv, "sgx=on", "sgx=on,+sgx")), IsEmpty()) << "QEMU takes both";
}

TEST(Lint, AModelThatNobodyHas) {
  const policy::CpuMap map{.features = {},
                           .models = {{"Skylake-Client-IBRS", "Intel", {}, {}}, {"EPYC", "AMD", {}, {}}}};
  const By by_map{.map = &map};
  const auto with = [](const std::string& text, const char* model) {
    return replaced(text, "Skylake-Client-IBRS", model);
  };
  // libvirt 9.0: "Unknown CPU model SKYLAKE-CLIENT"; QEMU 7.2: "unable to find CPU model".
  for (const std::string& text : {good_xml, good_argv}) {
    for (const char* wrong : {"Skylake-Klient-IBRS", "skylake-client-ibrs"}) {
      EXPECT_THAT(message(with(text, wrong), "unknown-model"), HasSubstr("did you mean 'Skylake-Client-IBRS'?"))
          << wrong;
      EXPECT_THAT(message(with(text, wrong), "unknown-model", by_map), HasSubstr("'Skylake-Client-IBRS'")) << wrong;
    }
    EXPECT_EQ(message(text, "unknown-model", by_map), "");
    EXPECT_EQ(message(with(text, "FutureRapids"), "unknown-model"), "") << "it may be one of tomorrow's";
  }
  EXPECT_THAT(message(with(good_xml, "FutureRapids"), "unknown-model", by_map), HasSubstr("in this libvirt's cpu_map"));
  EXPECT_EQ(message(with(good_argv, "FutureRapids"), "unknown-model", by_map), "") << "QEMU is not libvirt";
  EXPECT_EQ(message(with(good_argv, "Skylake-Client-v4"), "unknown-model"), "");
  EXPECT_THAT(message(with(good_nova, "Skylake-Klient-IBRS"), "unknown-model"), HasSubstr("'Skylake-Client-IBRS'"));
  EXPECT_EQ(message(with(good_nova, "skylake-client-ibrs"), "unknown-model", by_map), "") << "Nova takes any letters";
  EXPECT_EQ(message("<domain type='kvm'><cpu><model>Penrin</model></cpu></domain>", "unknown-model"), "")
      << "nothing is asked of SGX";
}

// The table of QEMU's models has each of those that are installed.
TEST(Lint, QemusModelsAreKnown) {
  FILE* const qemu = ::popen("qemu-system-x86_64 -cpu help 2>/dev/null", "r");
  ASSERT_NE(qemu, nullptr);
  std::string text(1 << 16, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), qemu));
  if (::pclose(qemu) != 0) GTEST_SKIP() << "QEMU is not installed";
  std::istringstream lines(text.substr(0, text.find("Recognized CPUID flags")));
  std::size_t models = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string x86, model;
    if (!(words >> x86 >> model) || (x86 != "x86" && !line.starts_with("  "))) continue;
    if (x86 != "x86") model = x86;
    ++models;
    EXPECT_NE(std::ranges::find(vm::qemu_models, vm::without_version(model)), vm::qemu_models.end()) << model;
  }
  EXPECT_GT(models, 40u);
}

TEST(Lint, AMachineWhoseGuestsGetNoEpc) {
  EXPECT_THAT(found(replaced(good_argv, "-M q35", "-M microvm")), ElementsAre("epc-not-attached@8:0"));
  EXPECT_THAT(found("qemu -accel kvm -M microvm -cpu host"), IsEmpty());
}

// A shell's variables: nobody knows what a guest gets.
TEST(Lint, WhatAShellReplacesIsRefused) {
  for (const char* open : {"-cpu $CPU", "-cpu host,$FLAGS", "-cpu host \"$@\"", "-cpu host ${ARGS[@]}", "-M $MACHINE",
                           "-object $EPC", "-object memory-backend-epc,id=a,size=$SIZE", "-accel `x`", "-$X host"})
    EXPECT_THAT(refusal(std::string("qemu-system-x86_64 ") + open), HasSubstr("which a shell replaces")) << open;
  EXPECT_EQ(refusal("qemu-system-x86_64 -cpu $CPU"),
            "f: argument 1: found '$CPU', which a shell replaces: expected what it stands for");
  EXPECT_EQ(refusal("qemu-system-x86_64 -cpu host -drive file=$IMG,if=virtio -name $NAME -append 'a=$b'"), "none");
}

TEST(Lint, PropertiesOfAProcessorsClassAreItsFlags) {
  const std::string without = replaced(good_argv, "sgx=on,", "");
  EXPECT_THAT(found(without + " -global Skylake-Client-IBRS-x86_64-cpu.sgx=on"), IsEmpty());
  EXPECT_THAT(found(without + " -global driver=x86_64-cpu,property=sgx,value=on"), IsEmpty());
  EXPECT_THAT(found(good_argv + " -global x86_64-cpu.sgx=off"), IsEmpty()) << "what -cpu says counts more";
  EXPECT_THAT(found(without + " -global Penryn-x86_64-cpu.sgx=on"), Not(IsEmpty()));
}

TEST(Lint, MissingSgx) {
  EXPECT_THAT(found(replaced(good_argv, "sgx=on,", "")),
              ElementsAre("missing-sgx@4:0", "missing-sgx@4:0", "missing-sgx@4:0", "epc-without-flags@6:0"));
  EXPECT_THAT(found(replaced(good_nova, "sgx,sgxlc", "sgxlc")),
              ElementsAre("missing-sgx@4:25", "missing-sgx@4:31", "missing-sgx@4:41"));
  EXPECT_THAT(found("[libvirt]\ncpu_mode = host-passthrough\ncpu_model_extra_flags = sgxlc\n"), IsEmpty());
  EXPECT_THAT(found("[libvirt]\ncpu_mode = host-passthrough\ncpu_model_extra_flags = sgxlc,-sgx\n"),
              ElementsAre("missing-sgx@3:25"));
}

TEST(Lint, MissingSgx1) {
  EXPECT_THAT(found(replaced(good_argv, "sgx1=on,", "")), ElementsAre("missing-sgx1@4:0"));
  EXPECT_THAT(found(replaced(good_xml, "    <feature policy='require' name='sgx1'/>\n", "")),
              ElementsAre("missing-sgx1@4:5"));
}

TEST(Lint, TheHostsProcessorWithWhatEnclavesNeedSwitchedOff) {
  const std::string model = "Skylake-Client-IBRS,sgx=on,sgx-mode64=on,sgx1=on,sgxlc=on";
  EXPECT_THAT(found(replaced(good_argv, model, "host,sgx1=off")), ElementsAre("missing-sgx1@4:0"));
  EXPECT_THAT(found(replaced(good_argv, model, "host,-sgx-mode64")), ElementsAre("missing-mode64@4:0"));
  EXPECT_THAT(
      found(domain("<cpu mode='host-model'><feature policy='disable' name='sgx1'/>" + one_cell + "</cpu>\n", good_epc)),
      ElementsAre("missing-sgx1@2:24"));
  EXPECT_THAT(found("qemu -accel kvm -cpu host,sgx1=off"), IsEmpty()) << "nobody means to use it";
}

// QEMU masks leaf 12H by the flags of a named model.
TEST(Lint, ANamedModelNeedsTheAttributesAndAWayToLaunch) {
  EXPECT_THAT(found(replaced(good_argv, "sgx-mode64=on,", "")), ElementsAre("missing-mode64@4:0"));
  EXPECT_THAT(found(replaced(good_xml, "    <feature policy='require' name='sgx-mode64'/>\n", "")),
              ElementsAre("missing-mode64@6:5"));
  EXPECT_THAT(found(replaced(good_nova, ",sgx-mode64", "")), ElementsAre("missing-mode64@4:35"));
  EXPECT_THAT(found(replaced(good_argv, ",sgxlc=on", "")), ElementsAre("missing-launch@4:0"));
  EXPECT_THAT(found(replaced(good_argv, ",sgxlc=on", ",sgx-tokenkey=on")), IsEmpty());
  EXPECT_THAT(found(replaced(good_argv, "Skylake-Client-IBRS,sgx=on,sgx-mode64=on,sgx1=on,sgxlc=on", "host,sgx=on")),
              IsEmpty());
}

TEST(Lint, UnknownFlagNamesTheNearest) {
  const std::string xml = replaced(good_xml, "'sgx1'", "'sgxx1'");
  EXPECT_THAT(found(xml), ElementsAre("missing-sgx1@4:5", "unknown-flag@6:5"));
  EXPECT_THAT(message(xml, "unknown-flag"),
              HasSubstr("no flag is called 'sgxx1' in libvirt up to 11, which refuses the domain | "
                        "did you mean 'sgx1'?"));
  EXPECT_THAT(found(replaced(good_argv, "sgx-mode64=on", "sgx-mode46=on")),
              ElementsAre("missing-mode64@4:0", "unknown-flag@4:0"));
  EXPECT_THAT(found(replaced(good_nova, "-hle", "sgx-debgu")), ElementsAre("unknown-flag@4:40"));
}

TEST(Lint, ForeignWord) {
  const std::string xml = replaced(good_xml, "'sgxlc'", "'sgx_lc'");
  EXPECT_THAT(found(xml), ElementsAre("foreign-word@5:5"));
  EXPECT_THAT(message(xml, "foreign-word"), HasSubstr("it is called 'sgxlc' there"));
  EXPECT_THAT(found(replaced(good_argv, "sgxlc=on", "sgx-lc=on")), ElementsAre("foreign-word@4:0"));
  EXPECT_THAT(found(replaced(good_argv, "sgx-mode64=on", "sgx_mode64=on")), IsEmpty());
  EXPECT_THAT(message(replaced(good_xml, "'sgxlc'", "'sgx-oss'"), "foreign-word"),
              HasSubstr("no word for it | take it"));
}

policy::CpuMap small_map() {
  policy::CpuMap map;
  for (const char* name : {"sgx", "sgxlc", "sgx1", "sgx-provisionkey", "hle", "vmx-ept", "monitor"})
    map.features.push_back({.name = name});
  return map;
}

TEST(Lint, FlagNotInTheInstalledMap) {
  const policy::CpuMap map = small_map();
  const By by{.map = &map};
  EXPECT_THAT(found(good_nova, by), ElementsAre("flag-not-in-map@4:45"));
  EXPECT_THAT(found(good_xml, by), ElementsAre("flag-not-in-map@8:5"));
  EXPECT_THAT(message(good_xml, "flag-not-in-map", by), HasSubstr("no 'sgx-mode64' in its cpu_map"));
  EXPECT_THAT(found(good_argv, by), IsEmpty()) << "QEMU does not read the map";
}

TEST(Lint, AFlagThatOnlyTheMapKnowsIsKnown) {
  const policy::CpuMap map = small_map();
  const By by{.map = &map};
  const std::string nova = replaced(good_nova, "sgx-mode64", "monitor");
  EXPECT_THAT(found(replaced(nova, "-hle", "vmx-ept"), by), ElementsAre("missing-mode64@4:35"));
  EXPECT_THAT(found(replaced(nova, "-hle", "vmx-ebt"), by), ElementsAre("missing-mode64@4:35", "unknown-flag@4:40"));
}

// Of MSRs, of VMX: libvirt has more words than our table has features.
TEST(Lint, AWordOfLibvirtsIsKnownWithoutItsMap) {
  for (const char* word : {"rdctl-no", "vmx-ept", "osxsave", "split-lock-detect"})
    EXPECT_THAT(found(replaced(good_nova, "hle", word)), IsEmpty()) << word;
  EXPECT_THAT(found(replaced(good_nova, "hle", "any-thing")), ElementsAre("unknown-flag@4:40"));
  const policy::CpuMap map = small_map();
  const std::string nova = replaced(replaced(good_nova, "hle", "rdctl-no"), ",sgx-mode64", "");
  EXPECT_THAT(found(nova, {.map = &map}), ElementsAre("missing-mode64@4:35", "flag-not-in-map@4:40"));
}

TEST(Lint, FlagsWithoutEpc) {
  EXPECT_THAT(found(domain(good_cpu, "")), ElementsAre("flags-without-epc@4:5"));
  EXPECT_THAT(found("-cpu host,+sgx"), ElementsAre("flags-without-epc@2:0"));
  EXPECT_THAT(found("qemu -cpu host,-sgx"), IsEmpty());
}

TEST(Lint, EpcWithoutFlags) {
  EXPECT_THAT(found(domain("<cpu><model>Skylake-Client</model>" + one_cell + "</cpu>\n", good_epc)),
              ElementsAre("epc-without-flags@4:3"));
  EXPECT_THAT(found(domain("<cpu mode='host-passthrough'>" + one_cell + "</cpu>\n", good_epc)), IsEmpty());
  const std::string off =
      domain("<cpu mode='host-passthrough'><feature name='sgx' policy='disable'/></cpu>\n", good_epc);
  EXPECT_THAT(message(off, "epc-without-flags"), HasSubstr("sgx switched off"));
}

TEST(Lint, NoPrealloc) {
  EXPECT_THAT(found(replaced(good_argv, ",prealloc=on", "")), ElementsAre("no-prealloc@6:0"));
  EXPECT_THAT(found(replaced(good_argv, "prealloc=on", "prealloc=off")), ElementsAre("no-prealloc@6:0"));
  EXPECT_THAT(found(replaced(good_argv, "memory-backend-epc,id=epc0,size=64M,prealloc=on",
                             R"('{"qom-type":"memory-backend-epc","id":"epc0","prealloc":true,"size":67108864}')")),
              IsEmpty());
}

// What is nested deeper than anybody writes is no properties; following it would use up the stack.
TEST(Lint, AnObjectsJsonIsFollowedSoDeepAndNoDeeper) {
  const std::string deep(500'000, '['), ends(500'000, ']');
  EXPECT_THAT(found(replaced(good_argv, "memory-backend-epc,id=epc0,size=64M,prealloc=on",
                             R"('{"qom-type":"memory-backend-epc","id":"epc0","a":)" + deep + ends + "}'")),
              testing::Not(IsEmpty()));
}

TEST(Lint, EpcOnNoNodeOfAGuestThatHasSeveral) {
  const std::string numa =
      replaced(good_cpu, one_cell, "<numa><cell id='0' cpus='0' memory='1'/><cell id='1' cpus='1' memory='1'/></numa>");
  EXPECT_THAT(found(domain(numa, good_epc)), ElementsAre("epc-on-no-node@11:3"));
  EXPECT_THAT(found(domain(numa, replaced(good_epc, "</size>", "</size><node>1</node>"))), IsEmpty());
}

TEST(Lint, QemuDemandsANode) {
  EXPECT_THAT(found(replaced(good_argv, ",sgx-epc.0.node=0", "")), ElementsAre("epc-on-no-node@6:0"));
}

policy::HostView host_called(const char* name) {
  policy::HostView host;
  host.name = name;
  return host;
}

policy::HostView server() {
  policy::HostView host = host_called("server");
  host.environment.emplace();
  host.environment->node_bytes = {{0, u64{64} << 30}, {1, u64{64} << 30}};
  host.environment->provision = policy::HostEnvironment::Device::usable;
  return host;
}

TEST(Lint, EpcOnNoNodeOfAHostThatHasSeveral) {
  const policy::HostView host = server();
  const policy::SgxReport report;
  const By by{.host = &host, .report = &report};
  EXPECT_THAT(found(good_xml, by), ElementsAre("epc-on-no-node@11:3"));
  EXPECT_THAT(found(replaced(good_xml, "<target>", "<source><nodemask>0</nodemask></source><target>"), by), IsEmpty());
  EXPECT_THAT(found(replaced(good_argv, "prealloc=on", "prealloc=on,host-nodes=0,policy=bind"), by), IsEmpty());
  policy::SgxReport two_sections;
  two_sections.sections.emplace(2);
  const policy::HostView dump = host_called("dump");
  EXPECT_THAT(found(good_xml, {.host = &dump, .report = &two_sections}), ElementsAre("epc-on-no-node@11:3"));
}

TEST(Lint, OldOptionOfIntelsBranch) {
  EXPECT_THAT(found("-cpu host -object memory-backend-epc,id=mem1,size=8M,prealloc -sgx-epc id=epc1,memdev=mem1"),
              ElementsAre("old-sgx-epc@5:0"));
}

// Each names its successor.
TEST(Lint, OldWords) {
  EXPECT_THAT(found("-machine pc,epc=64M"), ElementsAre("old-word@2:0"));
  EXPECT_THAT(message("-sgx epc=64M", "old-word"), HasSubstr("| write -object memory-backend-epc"));
  const std::string nova = replaced(good_nova, "[libvirt]\n", "[libvirt]\nsgx_epc_mb = 64\nsgx_features = sgx2\n");
  EXPECT_THAT(found(nova), ElementsAre("old-word@2:1", "old-word@3:1"));
  EXPECT_THAT(message(replaced(good_nova, "[libvirt]\n", "[libvirt]\nsgx_features = sgx2\n"), "old-word"),
              HasSubstr("| write the flags in cpu_model_extra_flags"));
  EXPECT_THAT(message("<domain><features><sgx><epc_size>64</epc_size></sgx></features></domain>", "old-word"),
              HasSubstr("| write <memory model='sgx-epc'>"));
  EXPECT_THAT(found("-cpu +sgx,+sgxlc"),
              ElementsAre("cpu-without-model@2:0", "missing-sgx1@2:0", "flags-without-epc@2:0"));
}

TEST(Lint, EpcThatLibvirtRefuses) {
  const std::string most = "<maxMemory slots='1' unit='GiB'>2</maxMemory>";
  const std::string none = replaced(good_xml, most, "");
  EXPECT_THAT(found(none), ElementsAre("refused-epc@11:3"));
  EXPECT_THAT(message(none, "refused-epc"), HasSubstr("add <maxMemory slots='1' unit='KiB'>1114112</maxMemory>"));
  const std::string place = "refused-epc@1:76";
  EXPECT_THAT(found(replaced(good_xml, most, "<maxMemory slots='1' unit='GiB'>1</maxMemory>")), ElementsAre(place));
  EXPECT_THAT(found(replaced(good_xml, "slots='1'", "slots='0'")), ElementsAre(place));
  const std::string flat = replaced(good_xml, one_cell, "");
  EXPECT_THAT(found(flat), ElementsAre("refused-epc@11:3"));
  EXPECT_THAT(message(flat, "refused-epc"), HasSubstr("add <numa>"));
}

TEST(Lint, EpcPastLibvirt) {
  const std::string arguments =
      " <qemu:commandline>\n"
      "  <qemu:arg value='-object'/>\n"
      "  <qemu:arg value='memory-backend-epc,id=m,size=96M,prealloc=on'/>\n"
      "  <qemu:arg value='-M'/>\n"
      "  <qemu:arg value='sgx-epc.0.memdev=m'/>\n"
      " </qemu:commandline>\n";
  const std::string xml = domain(" <cpu mode='host-passthrough'/>\n", "", arguments);
  EXPECT_THAT(found(xml), ElementsAre("epc-on-no-node@7:3", "epc-past-libvirt@7:3"));
  EXPECT_THAT(message(xml, "epc-past-libvirt"),
              HasSubstr("<memory model='sgx-epc'><target><size>98304</size><node>0</node></target></memory>"));
  EXPECT_THAT(message(xml, "epc-on-no-node"), HasSubstr("sgx-epc.N.node is missing"));
}

TEST(Lint, EpcNotAttached) {
  EXPECT_THAT(found(replaced(good_argv, "sgx-epc.0.memdev=epc0", "sgx-epc.0.memdev=epc1")),
              ElementsAre("epc-not-attached@6:0", "refused-epc@8:0"));
}

// What render refuses of EPC, lint finds.
TEST(Lint, SizesAndNodesOfEpcThatLibvirtRefuses) {
  const std::string size = "<size unit='MiB'>64</size>";
  for (const char* wrong : {"<size unit='MiB'>-64</size>", "<size>abc</size>", "<size unit='MiB'>64.5</size>",
                            "<size unit='MiB'>64 </size>", "<size unit='parsec'>64</size>", "<size>0</size>", "<size/>",
                            "<size unit='EiB'>18446744073709551615</size>", "<size unit='MiB'>0x40</size>"}) {
    EXPECT_THAT(found(replaced(good_xml, size, wrong)), ElementsAre("refused-epc@11:35")) << wrong;
  }
  EXPECT_THAT(found(replaced(good_xml, size, "")), ElementsAre("refused-epc@11:3"));
  EXPECT_THAT(found(replaced(good_xml, size, size + "<node>0</node>")), IsEmpty());
  for (const char* wrong : {"<node>1</node>", "<node>x</node>"})
    EXPECT_THAT(found(replaced(good_xml, size, size + wrong)), ElementsAre("refused-epc@11:61")) << wrong;
  EXPECT_THAT(message(replaced(good_xml, size, size + "<node>7</node>"), "refused-epc"),
              HasSubstr("EPC in node 7, but 'numa' has 1 cells"));
}

// The reader and libvirt's own start have it from 9.0 to 12.
TEST(Lint, EpcThatLibvirtRoundsUp) {
  const std::string size = "<size unit='MiB'>64</size>";
  for (const char* odd :
       {"<size unit='MiB'>1</size>", "<size>4</size>", "<size unit='MiB'>63</size>", "<size unit='b'>2097153</size>"})
    EXPECT_THAT(found(replaced(good_xml, size, odd)), ElementsAre("rounded-epc@11:3")) << odd;
  EXPECT_EQ(
      message(replaced(good_xml, size, "<size unit='MiB'>1</size>"), "rounded-epc"),
      "libvirt gives the guest 2048 KiB of EPC, not 1024: it rounds sizes up | write <size unit='KiB'>2048</size>");
  EXPECT_THAT(found(replaced(good_xml, size, "<size unit='MiB'>2</size>")), IsEmpty());
  EXPECT_THAT(found(replaced(good_argv, "size=64M", "size=1M")), IsEmpty()) << "QEMU gives what it is asked for";
}

TEST(Lint, EpcThatQemuRefuses) {
  for (const char* size : {"0", "-1", "abc", "18446744073709551615", "64X"})
    EXPECT_THAT(found(replaced(good_argv, "size=64M", std::string("size=") + size)), ElementsAre("refused-epc@6:0"))
        << size;
  EXPECT_THAT(found(replaced(good_argv, ",size=64M", "")), ElementsAre("refused-epc@6:0"));
  for (const char* size : {"64m", "0.5G", "67108864"})
    EXPECT_THAT(found(replaced(good_argv, "size=64M", std::string("size=") + size)), IsEmpty()) << size;
  const std::string first = "sgx-epc.0.memdev=epc0,sgx-epc.0.node=0";
  const auto message_of = [&](const std::string& sections) {
    return message(replaced(good_argv, first, sections), "refused-epc");
  };
  EXPECT_THAT(message_of("sgx-epc.1.memdev=epc0,sgx-epc.1.node=0"), HasSubstr("found sgx-epc.1, but no sgx-epc.0"));
  EXPECT_THAT(message_of(first + ",sgx-epc.1.memdev=epc0,sgx-epc.1.node=0"), HasSubstr("'epc0' is in two sections"));
  EXPECT_THAT(message_of("sgx-epc.0.memdev=epc0,sgx-epc.0.node=1"), HasSubstr("found node 1, but no '-numa'"));
  EXPECT_THAT(found("qemu -accel kvm -cpu host -numa node,nodeid=999"), IsEmpty()) << "nobody asks for EPC";
}

TEST(Lint, ASectionOfEpcThatLibvirtNumbersToo) {
  const std::string again =
      " <qemu:commandline>\n"
      "  <qemu:arg value='-object'/>\n"
      "  <qemu:arg value='memory-backend-epc,id=m,size=96M,prealloc=on'/>\n"
      "  <qemu:arg value='-M'/>\n"
      "  <qemu:arg value='sgx-epc.0.memdev=m,sgx-epc.0.node=0'/>\n"
      " </qemu:commandline>\n";
  EXPECT_THAT(message(domain(good_cpu, good_epc, again), "refused-epc"), HasSubstr("found sgx-epc.0 a second time"));
}

TEST(Lint, EpcBeyondWhatTheHostHas) {
  const policy::HostView host = host_called("small");
  policy::SgxReport report;
  report.launch = policy::LaunchCase::unlocked;
  report.sections.emplace(1);
  report.sections->front().bytes = 32 << 20;
  const By by{.host = &host, .report = &report};
  EXPECT_THAT(found(good_xml, by), ElementsAre("epc-beyond-host@11:3"));
  EXPECT_THAT(found(good_argv, by), ElementsAre("epc-beyond-host@6:0"));
  EXPECT_THAT(message(good_xml, "epc-beyond-host", by), HasSubstr("64 MiB of EPC, and small has 32 MiB"));
  report.sections->front().bytes = 64 << 20;
  EXPECT_THAT(found(good_xml, by), IsEmpty());
}

TEST(Lint, AProcessorWithWhatEnclavesMayNotUse) {
  policy::HostView host = host_called("narrow");
  host.named.learn(*policy::find_feature("avx"), true);
  policy::SgxReport report;
  report.launch = policy::LaunchCase::unlocked;
  report.xfrm = 3;
  const By by{.host = &host, .report = &report};
  const std::string argv = replaced(good_argv, "Skylake-Client-IBRS,", "host,");
  EXPECT_THAT(found(argv, by), ElementsAre("narrow-xfrm@4:0"));
  EXPECT_THAT(message(argv, "narrow-xfrm", by), HasSubstr("has avx, and no enclave on narrow may use it"));
  EXPECT_THAT(found(replaced(argv, "sgx=on", "sgx=on,avx=off"), by), IsEmpty());
  EXPECT_THAT(found(replaced(good_argv, "sgx=on", "sgx=on,avx512f=on"), by), ElementsAre("narrow-xfrm@4:0"));
  report.xfrm = 7;
  EXPECT_THAT(found(argv, by), IsEmpty());
}

TEST(Lint, OtherArchitecturesAreNotJudged) {
  EXPECT_THAT(read_subject("<domain><os><type arch='aarch64'>hvm</type></os></domain>").error().message,
              HasSubstr("found arch 'aarch64'"));
  EXPECT_THAT(read_subject("/usr/bin/qemu-system-aarch64 -cpu max,sve=on").error().message,
              HasSubstr("expected qemu-system-x86_64"));
}

TEST(Lint, SgxWithoutKvm) {
  EXPECT_THAT(found(replaced(good_xml, "type='kvm'", "type='qemu'")), ElementsAre("sgx-without-kvm@1:1"));
  EXPECT_THAT(found(replaced(good_nova, "[libvirt]\n", "[libvirt]\nvirt_type = qemu\n")),
              ElementsAre("sgx-without-kvm@2:13"));
  for (const char* other : {"type='xen'", "type='hvf'"})
    EXPECT_THAT(found(replaced(good_xml, "type='kvm'", other)), ElementsAre("sgx-without-kvm@1:1"));
  EXPECT_THAT(message(replaced(good_nova, "[libvirt]\n", "[libvirt]\nvirt_type = parallels\n"), "sgx-without-kvm"),
              HasSubstr("virt_type = parallels: SGX is KVM's to give"));
  EXPECT_THAT(found(replaced(good_argv, "-accel kvm", "-accel tcg")), ElementsAre("sgx-without-kvm@1:0"));
  EXPECT_THAT(found(replaced(good_argv, "-accel kvm", "-machine pc,accel=tcg:kvm")),
              ElementsAre("sgx-without-kvm@1:0"));
  EXPECT_THAT(found(replaced(good_argv, "-accel kvm", "")), ElementsAre("sgx-without-kvm@0:0"));
  // QEMU tries several -accel in their order; of what is said of the machine, the last counts.
  for (const char* other : {"-enable-kvm -no-kvm", "-M accel=kvm -M accel=tcg", "-enable-kvm -machine accel=tcg:kvm"})
    EXPECT_THAT(found(replaced(good_argv, "-accel kvm", other)), ElementsAre(HasSubstr("sgx-without-kvm@"))) << other;
  for (const char* kvm : {"-enable-kvm", "-M pc,accel=kvm:tcg", "-accel kvm,thread=multi -accel tcg",
                          "-no-kvm -enable-kvm", "-M accel=tcg -enable-kvm", "-M accel=tcg -M accel=kvm"})
    EXPECT_THAT(found(replaced(good_argv, "-accel kvm", kvm)), IsEmpty()) << kvm;
  EXPECT_THAT(found("qemu -cpu qemu64"), IsEmpty()) << "nobody asks for SGX";
  const std::string plain = replaced(good_argv, " -accel kvm", "");
  for (const char* kvm : {"kvm", "/usr/bin/kvm", "/usr/libexec/qemu-kvm"}) {
    EXPECT_THAT(found(replaced(plain, "qemu-system-x86_64", kvm)), IsEmpty()) << kvm;
    EXPECT_THAT(found(replaced(plain, "qemu-system-x86_64", kvm) + " -accel tcg"),
                ElementsAre(HasSubstr("sgx-without-kvm@")))
        << kvm;
  }
}

TEST(Lint, LaunchControlOfALockedHost) {
  const policy::HostView host = host_called("locked host");
  policy::SgxReport report;
  const By by{.host = &host, .report = &report};
  for (const auto launch : {policy::LaunchCase::none, policy::LaunchCase::unwritable, policy::LaunchCase::locked}) {
    report.launch = launch;
    EXPECT_THAT(found(good_xml, by), ElementsAre("locked-launch-control@5:5"));
  }
  for (const auto launch : {policy::LaunchCase::unlocked, policy::LaunchCase::unknown}) {
    report.launch = launch;
    EXPECT_THAT(found(good_xml, by), IsEmpty());
  }
  report.launch = policy::LaunchCase::locked;
  EXPECT_THAT(found(replaced(good_argv, ",sgxlc=on", ",sgx-tokenkey=on"), by), IsEmpty());
}

TEST(Lint, HostWithoutSgx) {
  const policy::HostView host = host_called("old host");
  policy::SgxReport report;
  const By by{.host = &host, .report = &report};
  report.launch = policy::LaunchCase::none;
  for (const auto state : {policy::SgxState::absent, policy::SgxState::switched_off}) {
    report.state = state;
    EXPECT_THAT(found(good_xml, by), ElementsAre("host-without-sgx@4:5")) << "and nothing of launch control";
    EXPECT_THAT(found(domain("<cpu mode='host-passthrough'>" + one_cell + "</cpu>\n", good_epc), by),
                ElementsAre("host-without-sgx@4:3"));
    EXPECT_THAT(found("qemu -cpu host", by), IsEmpty());
  }
  EXPECT_THAT(message(good_xml, "host-without-sgx", by), HasSubstr("firmware did not switch on"));
}

TEST(Lint, ProvisioningWithoutPermission) {
  using Device = policy::HostEnvironment::Device;
  policy::HostView host = host_called("here");
  host.environment.emplace();
  const policy::SgxReport report;
  const By by{.host = &host, .report = &report};
  const std::string argv = replaced(good_argv, "sgx1=on", "sgx1=on,sgx-provisionkey=on");
  host.environment->provision = Device::refused;
  EXPECT_THAT(found(argv, by), ElementsAre("provisioning-refused@4:0"));
  EXPECT_THAT(found(good_xml, by), IsEmpty()) << "libvirt opens the device to its guests";
  host.environment->provision = Device::absent;
  EXPECT_THAT(found(argv, by), ElementsAre("provisioning-refused@4:0"));
  EXPECT_THAT(found(good_xml, by), ElementsAre("provisioning-refused@7:5"));
  host.environment->provision = Device::usable;
  EXPECT_THAT(found(argv, by), IsEmpty());
}

TEST(Lint, NovasKeys) {
  EXPECT_THAT(found(replaced(good_nova, "cpu_models", "cpu_model")), ElementsAre("old-cpu-model@3:1"));
  EXPECT_THAT(found(replaced(good_nova, "= custom", "= Custom")),
              ElementsAre("unknown-cpu-mode@2:12", "models-without-custom@3:14"));
  EXPECT_THAT(found(replaced(good_nova, "= custom", "= host-model")), ElementsAre("models-without-custom@3:14"));
  EXPECT_THAT(found("[libvirt]\ncpu_models = Haswell\n"), ElementsAre("models-without-custom@2:14"));
  EXPECT_THAT(found("[libvirt]\ncpu_mode = custom\n"), ElementsAre("custom-without-model@2:12"));
}

TEST(Lint, NovaIgnoresFlagsWithoutACpu) {
  EXPECT_THAT(found("[libvirt]\ncpu_mode = none\ncpu_model_extra_flags = sgx\n"), ElementsAre("ignored-flags@3:25"));
  EXPECT_THAT(found("[libvirt]\nvirt_type = lxc\ncpu_model_extra_flags = sgx\n"),
              ElementsAre("sgx-without-kvm@2:13", "ignored-flags@3:25"));
  EXPECT_THAT(found("[libvirt]\ncpu_model_extra_flags = sgx\n"), IsEmpty()) << "the host's model, with flags";
}

TEST(Lint, WhatIsNoneOfTheFormatsIsUnreadable) {
  for (const std::string text : {"", "  \n", "<a/>", "<domain", "[x", "[libvirt]\nx\n", "hello world"}) {
    const auto subject = read_subject(text);
    ASSERT_FALSE(subject.has_value()) << text;
    EXPECT_FALSE(subject.error().message.empty());
  }
}

TEST(Lint, FilesOfOtherToolsAreRefusedByName) {
  const std::pair<std::string, const char*> cases[] = {
      {"# x\napiVersion: kubevirt.io/v1\nkind: VirtualMachine\n",
       "f:2:1: found a manifest of Kubernetes; of KubeVirt's"},
      {"[hypervisor.qemu]\npath = '/usr/bin/qemu'\n", "f:1:1: found Kata Containers' configuration"},
      {"boot: c\ncores: 2\nscsihw: virtio-scsi-pci\n",
       "f:3:1: found Proxmox's configuration of a machine; 'qm showcmd"},
      {"cores: 2\ncpu: host\nnet0: virtio=52:54:00:00:00:00,bridge=vmbr0\n", "f:3:1: found Proxmox's configuration"},
      {"/usr/bin/cloud-hypervisor --cpus boot=1 --sgx-epc id=e,size=64M",
       "f:1:1: found Cloud Hypervisor's command line"},
      {"\xff\xfe<\0d\0", "found UTF-16, expected UTF-8"},
      {std::string("<\0d\0o\0m\0a\0i\0n\0>\0", 16), "found UTF-16, expected UTF-8"},
      {"<domain type='kvm'/>\n<domain type='kvm'/>", "f:2:1: found a second <domain>, expected one in a file"},
      {"<domains>\n<domain type='kvm'/></domains>", "f:1:1: found the element 'domains', expected 'domain'"},
      {"<domainsnapshot><domain/>\n<inactiveDomain/></domainsnapshot>",
       "f:2:1: found a second <domain> ('inactiveDomain'), expected one in a file"},
      {"<domstatus><domain>\n<x><domain/></x></domain></domstatus>", "f:2:4: found a second <domain>, expected one"},
      {"$ virsh dumpxml web\n<a/>\n<domain/>", "f:2:1: found the element 'a', expected 'domain'"},
      {"<a/>\n<domain/>", "f:1:1: found the element 'a', expected 'domain'"},
      {"<domainCapabilities><domain>kvm</domain></domainCapabilities>",
       "found libvirt's domain capabilities, expected 'domain'; 'cloister cpu probe' says what that host can give"},
      {"<capabilities/>", "found libvirt's capabilities of a host, expected 'domain'"},
      {"[Unit]\nDescription=x\n", "found a file of sections without [libvirt]"},
      {"virt-install --cpu host --name x", "found no program of QEMU's"},
      {"{\n  \"apiVersion\": \"kubevirt.io/v1\",\n", "f:2:1: found a manifest of Kubernetes"},
      {R"({"apiVersion":"kubevirt.io/v1"})", "f:1:1: found a manifest of Kubernetes"},
      {"qemu-system-x86_64 -cpu host,+sgx\nqemu-system-x86_64 -cpu max\n", "which begins another command"},
  };
  for (const auto& [text, message] : cases) EXPECT_THAT(refusal(text), HasSubstr(message));
}

TEST(Lint, AListingBeginsWithAnOptionThatQemuHas) {
  for (const char* other : {"---\napi: 1\n", "-----BEGIN CERTIFICATE-----\n", "--- a/x\n+++ b/x\n", "- item\n- sgx\n",
                            "-not-an-option x\n"})
    EXPECT_THAT(refusal(other), HasSubstr("found no program of QEMU's and no option")) << other;
  EXPECT_THAT(found("--cpu host --cpu host"), ElementsAre("duplicate-cpu@4:0"));
  // The accelerator is no program, and its argument counts.
  EXPECT_THAT(found("-accel kvm -cpu host -cpu host"), ElementsAre("duplicate-cpu@6:0"));
}

TEST(Lint, ACommandIsQemusByTheNameOfItsProgram) {
  for (const char* before :
       {"qemu", "/usr/libexec/qemu-kvm", "sudo -E kvm", "A=b /usr/bin/kvm-spice", "\xef\xbb\xbfqemu", "/opt/emulator"})
    EXPECT_THAT(found(std::string(before) + " -accel kvm -cpu host -cpu host"), ElementsAre("duplicate-cpu@6:0"))
        << before;
}

TEST(Lint, WhatDoesNotAskForSgxIsNotJudged) {
  for (const char* none : {"<domain type='kvm'><cpu mode='host-passthrough'/></domain>", "qemu -cpu host,-hle",
                           "[libvirt]\nvirt_type = kvm\n"})
    EXPECT_FALSE(read_subject(none)->asks_for_sgx()) << none;
  for (const std::string& some : {good_xml, good_nova, good_argv}) EXPECT_TRUE(read_subject(some)->asks_for_sgx());
}

TEST(Lint, ShowsNothingOfAStrangerThatATerminalObeys) {
  const std::string nova = "[libvirt]\ncpu_mode = custom\ncpu_models = A\ncpu_model_extra_flags = sgx";
  EXPECT_EQ(read_subject(nova + "\x1b[2J1\n").error(), (Diagnostic{{4, 28}, "found byte 0x1b, expected nova.conf"}));
  const auto subject = read_subject(nova +
                                    "\x9b"
                                    "2J1\n");  // the same in one byte
  ASSERT_TRUE(subject.has_value());
  const auto findings = lint({.subject = *subject});
  EXPECT_FALSE(findings.empty());
  for (const Finding& f : findings) {
    EXPECT_EQ(f.message.find('\x9b'), std::string::npos);
    EXPECT_EQ(f.mend.find('\x9b'), std::string::npos);
  }
}

TEST(Lint, MutatedFilesAreReadOrRefusedInsideTheText) {
  const std::string block = domain(good_cpu, good_epc, document_block);
  for (const std::string& seed : {good_argv, good_nova, block}) {
    for (std::size_t at = 0; at < seed.size(); ++at) {
      for (const char c : {'\0', '<', '\'', ',', '=', '\n', '\xff'}) {
        std::string text = seed;
        text[at] = c;
        const auto subject = read_subject(text);
        if (subject) {
          for (const Finding& f : lint({.subject = *subject})) EXPECT_FALSE(f.message.empty() || f.mend.empty());
        } else {
          EXPECT_LE(subject.error().at.line, static_cast<u32>(std::ranges::count(text, '\n')) + 1) << text;
        }
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------ documentation

TEST(Lint, DocumentationHasEveryRuleAndNoOther) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/cpu-lint.md");
  ASSERT_TRUE(file.is_open());
  const std::regex row(R"(\| `([a-z0-9-]+)` \| (.*) \|)");
  std::vector<std::pair<std::string, std::string>> documented, table;
  for (std::string line; std::getline(file, line);) {
    std::smatch cells;
    if (std::regex_match(line, cells, row)) documented.emplace_back(cells[1], cells[2]);
  }
  for (const Rule& rule : rules()) table.emplace_back(rule.name, rule.about);
  EXPECT_EQ(documented, table);
}

}  // namespace
}  // namespace cloister::toolstack::lint
