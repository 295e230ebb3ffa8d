// `cloister cpu render` and `cloister cpu lint` as people run them, and the two with each other: lint finds nothing in
// what render writes (docs/cpu-render.md, docs/cpu-lint.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "interop/cpu_map_xml.hpp"
#include "interop/lint/rules.hpp"
#include "interop/vm/formats.hpp"
#include "silicon/backend.hpp"
#include "unit/policy/sgx_machines.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using tests::Folder;
using tests::Ran;
using tests::run_cloister;

Ran render(const std::string& target, const std::string& file, bool lossy = false) {
  std::vector<std::string> arguments = {"cpu", "render", "--for", target, file};
  if (lossy) arguments.insert(arguments.begin() + 2, "--lossy");
  return run_cloister(arguments);
}

const std::string least = "name = 'd'\nkernel = '/boot/vmlinuz'\nepc = 64\nsgx_provision = 1\n";

// As of a configuration: a stranger's file of 400 KB is not answered with as many lines as it has elements.
TEST(CpuRender, TellsTheFirstOfManyThatAreIgnored) {
  const Folder folder;
  std::string devices;
  for (int i = 0; i < 100; ++i) devices += "<disk/>";
  const Ran ran =
      render("qemu", folder.write("d.xml", "<domain type='kvm'><name>d</name><memory>1048576</memory><devices>" +
                                               devices + "</devices></domain>"));
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 64);
  EXPECT_THAT(ran.err, HasSubstr("d.xml: warning: 37 more are ignored\n"));
}

TEST(CpuRender, SaysThatThereIsNothing) {
  const Folder folder;
  const Ran ran = render("qemu", folder.write("empty", " \n"));
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("empty: found nothing, expected a configuration, libvirt's domain XML"));
}

TEST(CpuRender, WritesAConfigurationForEveryTool) {
  const Folder folder;
  const std::string file = folder.write("d.cfg", least);
  const struct {
    const char *target, *has;
  } expected[] = {{"libvirt", "<memory model='sgx-epc'>"},
                  {"qemu", "memory-backend-epc"},
                  {"nova", "[libvirt]\n"},
                  {"xl", "epc = 64\n"},
                  {"cloister", "epc = 64\n"}};
  for (const auto& [target, has] : expected) {
    const Ran ran = render(target, file);
    EXPECT_EQ(ran.status, 0) << target << ran.err;
    EXPECT_THAT(ran.out, HasSubstr(has)) << target;
    EXPECT_THAT(ran.err, IsEmpty()) << target;
  }
}

TEST(CpuRender, TakesWhatItWritesForLibvirt) {
  const Folder folder;
  const std::string first = render("libvirt", folder.write("d.cfg", least)).out;
  const Ran again = render("libvirt", folder.write("d.xml", first));
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.out, first);
}

TEST(CpuRender, APathBecomesAbsoluteForLibvirtWhichTakesNoOther) {
  const Folder folder;
  const Ran ran = render("libvirt", folder.write("d.cfg", "name = 'd'\nkernel = 'k'\n"));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("<kernel>/"), HasSubstr("/k</kernel>")));
}

TEST(CpuRender, WhatCannotBeSaidIsAnErrorUnlessTheLossIsAccepted) {
  const Folder folder;
  const std::string file = folder.write("d.cfg", least + "lehash = '" + std::string(64, '1') + "'\n");
  for (const char* target : {"libvirt", "qemu", "nova", "xl"}) {
    const Ran refused = render(target, file);
    EXPECT_EQ(refused.status, 1) << target;
    EXPECT_THAT(refused.out, IsEmpty()) << target;
    EXPECT_THAT(refused.err, AllOf(StartsWith(file + ": cannot be said: launch hash"),
                                   HasSubstr("\ncloister: use --lossy to leave it out\n")))
        << target;
    const Ran lossy = render(target, file, true);
    EXPECT_EQ(lossy.status, 0) << target;
    EXPECT_THAT(lossy.out, Not(IsEmpty())) << target;
    EXPECT_THAT(lossy.err, StartsWith(file + ": warning: left out launch hash")) << target;
  }
  EXPECT_EQ(render("cloister", file).status, 0);
}

// What people ask for most: a command line that works, as libvirt's XML.
TEST(CpuRender, TakesQemusCommands) {
  const Folder folder;
  const std::string command =
      "A=b \\\n/usr/bin/qemu-system-x86_64 -accel kvm -cpu host,+sgx -m 1G -smp 2 -usb -name d \\\n"
      "  -object memory-backend-epc,id=m,size=64M,prealloc=on -M q35,sgx-epc.0.memdev=m,sgx-epc.0.node=0\n";
  const Ran ran = render("libvirt", folder.write("run.sh", command));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("<emulator>/usr/bin/qemu-system-x86_64</emulator>"),
                             HasSubstr("<feature policy='require' name='sgx'/>"), HasSubstr("<memory model='sgx-epc'>"),
                             HasSubstr("machine='q35'")));
  EXPECT_THAT(ran.err, HasSubstr("run.sh: warning: argument 9: the option '-usb' is ignored"));
  EXPECT_EQ(render("cloister", folder.write("run.sh", command)).status, 0);
  std::string cmdline = "/usr/bin/kvm -cpu host -m 512 -accel kvm -name d";
  std::ranges::replace(cmdline, ' ', '\0');
  EXPECT_EQ(render("libvirt", folder.write("cmdline", cmdline)).status, 0);
  const Ran wrong = render("libvirt", folder.write("run.sh", "qemu-kvm -m x"));
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("run.sh: argument 1: '-m': found 'x'"));
}

TEST(CpuRender, PagedEpcIsAnErrorWhereItStands) {
  const Folder folder;
  const Ran ran = render("qemu", folder.write("d.cfg", least + "epc_min = 8\n"), true);
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("d.cfg:5:11: 'epc_min'"));
  EXPECT_EQ(render("qemu", folder.write("d.cfg", least + "epc_min = 64\n")).status, 0);
}

TEST(CpuRender, KeysOfADomainsOwnAreAnErrorWhereTheyStand) {
  const Folder folder;
  const Ran ran = render("qemu", folder.write("d.cfg", least + "sgx_platform = 'group:db'\n"), true);
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("d.cfg:5:16: 'sgx_platform'"));
  EXPECT_EQ(render("qemu", folder.write("d.cfg", least + "sgx_platform = 'machine'\n")).status, 0);
}

TEST(CpuRender, WarnsOfWhatItIgnores) {
  const Folder folder;
  const Ran ran = render("xl", folder.write("d.cfg", least + "vif = ['type=user']\n"));
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("d.cfg:5:7: warning: "), HasSubstr("vif")));
  const Ran with_rng = render("xl", folder.write("d.cfg", least + "rng = 1\n"));
  EXPECT_EQ(with_rng.status, 0);
  EXPECT_THAT(with_rng.err, HasSubstr("d.cfg:5:7: warning: 'rng' is not rendered, and ignored"));
  const Ran with_console = render("xl", folder.write("d.cfg", least + "virtio_console = 1\n"));
  EXPECT_EQ(with_console.status, 0);
  EXPECT_THAT(with_console.err, HasSubstr("d.cfg:5:18: warning: 'virtio_console' is not rendered, and ignored"));
  const Ran with_disk = render("xl", folder.write("d.cfg", least + "disk = ['a,raw,xvda']\n"));
  EXPECT_EQ(with_disk.status, 0);
  EXPECT_THAT(with_disk.err, HasSubstr("d.cfg:5:8: warning: 'disk' is not rendered, and ignored"));
}

// As lint and check do.
TEST(CpuRender, TakesTheCommandOfAScript) {
  const Folder folder;
  const Ran ran = render("qemu", folder.write("run.sh",
                                              "#!/bin/sh\nset -e\nIMG=a.img\nqemu-system-x86_64 -enable-kvm \\\n"
                                              "  -cpu host,+sgx -m 64 -drive file=$IMG\n"));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("-cpu host,sgx=on"));
}

TEST(CpuRender, SaysWhatItFoundInsteadOfAConfiguration) {
  const Folder folder;
  const std::pair<const char*, const char*> cases[] = {
      {"[libvirt]\ncpu_mode = host-model\n", ":1:1: found nova.conf, expected a conf"},
      {"# a\n[Unit]\nExecStart=/usr/bin/qemu-system-x86_64 -m 1G\n", ":2:1: found a file of sections, expected a conf"},
      {"{\"cpus\": {}}", ":1:1: found JSON, expected a configuration"}};
  for (const auto& [text, error] : cases) {
    const Ran ran = render("libvirt", folder.write("f", text));
    EXPECT_EQ(ran.status, 2);
    EXPECT_THAT(ran.err, HasSubstr(error));
  }
}

TEST(CpuRender, ABadFileIsOneLineAndStatusTwo) {
  const Folder folder;
  for (const std::string text : {"name = ", "<domain", "<a/>", ""}) {
    const Ran ran = render("nova", folder.write("bad", text));
    EXPECT_EQ(ran.status, 2) << text;
    EXPECT_THAT(ran.out, IsEmpty());
    EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << ran.err;
    EXPECT_THAT(ran.err, StartsWith(folder.path("bad") + ":"));
  }
  EXPECT_EQ(render("nova", folder.path("missing")).status, 2);
  EXPECT_EQ(render("kubernetes", folder.write("d.cfg", least)).status, 2);
}

// ------------------------------------------------------------------------------------------------ documentation

/// What a page shows after "$ COMMAND": indented lines up to the next command or the end of the block.
std::string shown_after(const std::string& page, const std::string& command) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/" + page);
  std::string text;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    const bool indented = line.starts_with("    ");
    if (inside && ((!indented && !line.empty()) || line.starts_with("    $ "))) break;
    if (inside) text += indented ? line.substr(4) + "\n" : "\n";
    inside = inside || line == "    $ " + command;
  }
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

TEST(CpuRender, DocumentationShowsWhatIsWritten) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/examples/debian.cfg");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto read = read_config(text);
  ASSERT_TRUE(read.has_value());
  const auto vm = vm::from_config(read->config, silicon::backend());
  ASSERT_TRUE(vm.has_value());
  vm::Vm at_home = *vm;
  at_home.kernel = "/home/you/cloister/" + vm->kernel;
  at_home.ramdisk = "/home/you/cloister/" + vm->ramdisk;
  const auto page = [](const std::string& more) {
    return shown_after("cpu-render.md", "cloister cpu render --for " + more);
  };
  EXPECT_EQ(page("libvirt examples/debian.cfg"), vm::to_libvirt(at_home).text);
  EXPECT_EQ(page("qemu examples/debian.cfg"), vm::to_qemu(*vm).text);
  EXPECT_EQ(page("nova examples/debian.cfg"), vm::to_nova(*vm).text);
  EXPECT_EQ(page("xl examples/debian.cfg"), vm::to_xl(*vm).text);
  EXPECT_EQ(page("cloister examples/debian.cfg"), vm::to_config(*vm, silicon::backend()).text);
}

// ------------------------------------------------------------------------------------------------ lint

Ran lint(const std::string& file, bool json = false) {
  std::vector<std::string> arguments = {"cpu", "lint", file};
  if (json) arguments.push_back("--json");
  return run_cloister(arguments);
}

TEST(CpuLint, FindsNothingInWhatRenderWrites) {
  const Folder folder;
  for (const char* more : {"", "silicon = 'icelake-server'\n", "silicon = 'skylake-client'\nsgx_provision = 0\n",
                           "cpuid = 'host,sgx2=0'\n", "memory = 512\nvcpus = 2\n"}) {
    const std::string file = folder.write("d.cfg", least + more);
    for (const char* target : {"libvirt", "qemu", "nova"}) {
      const Ran rendered = render(target, file, true);
      ASSERT_EQ(rendered.status, 0) << more << rendered.err;
      const Ran ran = lint(folder.write(target, rendered.out));
      EXPECT_EQ(ran.status, 0) << more << target << ran.out << rendered.out;
      EXPECT_THAT(ran.out, HasSubstr("nothing found")) << ran.out;
    }
  }
}

/// Every mode, with and without EPC, on nodes and off them.
std::vector<vm::Vm> many_vms() {
  using vm::CpuMode;
  std::vector<vm::Vm> vms;
  for (const CpuMode mode : {CpuMode::custom, CpuMode::host_model, CpuMode::host_passthrough, CpuMode::maximum}) {
    for (const u32 sections : {0, 1, 2}) {
      for (const bool on_nodes : {false, true}) {
        vm::Vm vm;
        vm.name = "d";
        vm.memory_kib = 1 << 20;
        vm.vcpus = 2;
        vm.cpu.mode = mode;
        if (mode == CpuMode::custom) vm.cpu.model = "Skylake-Client-IBRS";
        for (const char* name : {"sgx", "sgxlc", "sgx1", "sgx-mode64", "sgx-provisionkey"})
          if (sections > 0 && mode == CpuMode::custom)
            vm.cpu.features.push_back({.name = name, .policy = {}, .at = {}});
        for (vm::CpuFeature& feature : vm.cpu.features) feature.policy = vm::FeaturePolicy::require;
        for (u32 i = 0; i < sections; ++i) {
          vm.epc.push_back({.kib = 64 << 10, .host_nodes = {}, .guest_node = {}, .prealloc = true, .at = {}});
          if (on_nodes) vm.epc.back().host_nodes = {i};
          if (on_nodes) vm.epc.back().guest_node = i;
        }
        vms.push_back(std::move(vm));
      }
    }
  }
  return vms;
}

TEST(CpuLint, FindsNothingInAnyVmThatIsWhole) {
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  for (const vm::Vm& vm : many_vms()) {
    for (vm::Rendered (*to)(const vm::Vm&) : {vm::to_libvirt, vm::to_qemu, vm::to_nova}) {
      const std::string text = to(vm).text;
      const auto subject = lint::read_subject(text);
      ASSERT_TRUE(subject.has_value()) << text << format("", subject.error());
      for (const lint::Finding& f : lint::lint({.subject = *subject, .map = map ? &*map : nullptr}))
        ADD_FAILURE() << f.rule << ": " << f.message << "\n" << text;
    }
  }
}

constexpr const char* nova = "[libvirt]\ncpu_mode = custom\ncpu_model = Skylake-Client-IBRS\n";

TEST(CpuLint, SaysRulePlaceMessageAndMend) {
  const Folder folder;
  const std::string file = folder.write("nova.conf", nova);
  const Ran ran = lint(file);
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, IsEmpty());
  EXPECT_THAT(ran.out, StartsWith(file +
                                  ":3:1: old-cpu-model\n"
                                  "  cpu_model is the name that cpu_models had before Nova 20 (Train)\n"
                                  "  mend: write cpu_models, which takes a list\n\n" +
                                  file + ": 1 finding in nova.conf, judged "));
}

TEST(CpuLint, JsonSaysTheSame) {
  const Folder folder;
  const Ran ran = lint(folder.write("nova.conf", nova), true);
  EXPECT_EQ(ran.status, 1);
  const auto json = nlohmann::json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ran.out;
  EXPECT_EQ(json["format"], "nova.conf");
  EXPECT_EQ(json["findings"][0]["rule"], "old-cpu-model");
  EXPECT_EQ(json["findings"][0]["line"], 3);
  EXPECT_EQ(json["findings"][0]["column"], 1);
  const Ran argv = lint(folder.write("argv", "qemu -cpu host -cpu max"), true);
  EXPECT_EQ(nlohmann::json::parse(argv.out)["findings"][0]["argument"], 2);
}

// A stranger's file may have as many findings as it has words.
TEST(CpuLint, ShowsTheFirstOfMany) {
  const Folder folder;
  std::string argv = "qemu-system-x86_64 -enable-kvm";
  for (int i = 0; i < 20000; ++i) argv += " -cpu sgx,+sgxx" + std::to_string(i);
  const std::string file = folder.write("argv", argv);
  const Ran ran = lint(file);
  EXPECT_EQ(ran.status, 1);
  EXPECT_LT(ran.out.size(), 64u << 10);
  EXPECT_THAT(ran.out, ::testing::ContainsRegex(": [0-9]+ more are not shown\n\n.*: [0-9]+ findings in QEMU's"));
  const auto json = nlohmann::json::parse(lint(file, true).out);
  EXPECT_EQ(json["findings"].size(), 64u);
  EXPECT_GT(json["more"].get<int>(), 1000);
}

TEST(CpuLint, SaysThatOneStartOfALogIsRead) {
  const Folder folder;
  const std::string start =
      "2026-11-02 10:00:00.123+0000: starting up libvirt version: 9.0.0\nLC_ALL=C \\\n/usr/bin/qemu-system-x86_64 "
      "\\\n-accel kvm -cpu host,+sgx\n2026-11-02 10:05:01.000+0000: shutting down, reason=destroyed\n";
  const std::string file = folder.write("d.log", start + start);
  const std::string said = file + ":7:1: warning: the last of 2 starts in this log is read";
  EXPECT_THAT(lint(file).err, HasSubstr(said));
  EXPECT_THAT(lint(file).out, HasSubstr("flags-without-epc"));
  const Ran rendered = render("qemu", file);
  EXPECT_EQ(rendered.status, 0) << rendered.err;
  EXPECT_THAT(rendered.err, HasSubstr(said));
  EXPECT_THAT(run_cloister({"cpu", "check", folder.write("host.txt", tests::kaby_lake), file}).err, HasSubstr(said));
}

TEST(CpuLint, JudgesForTheHostThatIsNamed) {
  const Folder folder;
  const std::string xml = folder.write("d.xml", render("libvirt", folder.write("d.cfg", least)).out);
  const std::string host = folder.write("server", std::string(tests::two_xeon_gold_6354));
  const Ran ran = run_cloister({"cpu", "lint", xml, "--host", host});
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out,
              AllOf(HasSubstr(": epc-on-no-node\n  the host has EPC on 2 NUMA nodes"), HasSubstr("judged for '")));
  EXPECT_EQ(run_cloister({"cpu", "lint", xml, "--host", folder.path("missing")}).status, 2);
}

TEST(CpuLint, TellsCleanFromNotJudged) {
  const Folder folder;
  const std::string clean = folder.write("d.xml", render("libvirt", folder.write("d.cfg", least)).out);
  EXPECT_EQ(lint(clean).status, 0);
  const std::string none = folder.write("n.xml", "<domain type='kvm'/>");
  const Ran ran = lint(none);
  EXPECT_EQ(ran.status, 3);
  EXPECT_EQ(ran.out, none + ": not judged: libvirt's domain XML asks for nothing of SGX\n");
  EXPECT_EQ(nlohmann::json::parse(lint(none, true).out)["judged"], false);
}

TEST(CpuLint, AFileOfNoFormatIsUnreadable) {
  const Folder folder;
  const Ran ran = lint(folder.write("x", "hello world"));
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << ran.err;
  EXPECT_EQ(lint(folder.path("missing")).status, 2);
}

}  // namespace
}  // namespace cloister::toolstack
