// QEMU's command line as a Vm and back (qemu(1)).
#include <gtest/gtest.h>

#include <algorithm>

#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/qemu_options.hpp"
#include "unit/toolstack/vm_domains.hpp"

namespace cloister::toolstack::vm {
namespace {

using Words = std::vector<std::string>;

std::string error_of(const Words& argv) {
  const auto read = from_qemu(argv);
  return read ? "no error" : format("e", read.error());
}

Words ignored(const Words& argv) {
  const auto read = from_qemu(argv);
  if (!read) return {format("e", read.error())};
  Words lines;
  for (const Diagnostic& diagnostic : read->ignored) lines.push_back(format("i", diagnostic));
  return lines;
}

Vm vm_of(const Words& argv) {
  const auto read = from_qemu(argv);
  EXPECT_TRUE(read) << read.error().message;
  return read ? read->vm : Vm{};
}

/// "sgx=on sse4.2=off", of -cpu with this value.
std::string features_of(const std::string& cpu) {
  std::string text;
  for (const CpuFeature& feature : vm_of({"-cpu", cpu}).cpu.features) {
    text.append(text.empty() ? "" : " ").append(feature.name).append(is_on(feature.policy) ? "=on" : "=off");
  }
  return text;
}

// ------------------------------------------------------------------------------------------------ words

TEST(ToQemu, HasNoSwitchForWhatMirrorsCr4) {
  Vm vm = tests::plain_vm();
  vm.cpu = {.mode = CpuMode::host_passthrough, .model = {}, .features = {}};
  for (const char* name : {"osxsave", "ospke", "avx2"}) put_feature(vm.cpu, name, FeaturePolicy::require);
  const std::vector<std::string> argv = qemu_argv(vm);
  EXPECT_NE(std::ranges::find(argv, "host,avx2=on"), argv.end());
}

TEST(ReadArgv, SplitsAsTheKernelAndAsAShell) {
  using namespace std::string_literals;
  EXPECT_EQ(*read_argv("qemu\0-append\0a b\0\0"s), (Words{"qemu", "-append", "a b", ""}));
  EXPECT_EQ(*read_argv("# a comment\nqemu -name 'it'\\''s' \\\n  -append \"a \\\"b\\\" \\x $c\" a\\ b ''\n"),
            (Words{"qemu", "-name", "it's", "-append", "a \"b\" \\x $c", "a b", ""}));
  // As libvirt's log has it.
  EXPECT_EQ(*read_argv("LC_ALL=C PATH=/bin /usr/bin/qemu -name guest=a,debug-threads=on"),
            (Words{"/usr/bin/qemu", "-name", "guest=a,debug-threads=on"}));
  // As `xargs -0 printf "%s\n"` prints it.
  EXPECT_EQ(*read_argv("qemu\n-cpu\nhost,+sgx\n"), (Words{"qemu", "-cpu", "host,+sgx"}));
}

constexpr const char* one_start =
    "2026-11-02 10:00:00.123+0000: starting up libvirt version: 9.0.0, package: 4, qemu version: 7.2.0, hostname: h\n"
    "LC_ALL=C \\\nPATH=/usr/bin \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=a,debug-threads=on \\\n-msg "
    "timestamp=on\nchar device redirected to /dev/pts/0 (label charserial0)\n"
    "2026-11-02T10:05:00.5Z qemu-system-x86_64: terminating on signal 15 from pid 1 (/usr/sbin/libvirtd)\n"
    "2026-11-02 10:05:01.000+0000: shutting down, reason=destroyed\n";
constexpr const char* failed_start =
    "2026-11-02 10:10:00.123+0000: starting up libvirt version: 9.0.0\nqemu-system-x86_64: it's no use\n";

TEST(ReadArgv, TakesTheLastStartOfALibvirtLog) {
  const Words words{"/usr/bin/qemu-system-x86_64", "-name", "guest=a,debug-threads=on", "-msg", "timestamp=on"};
  const std::string one = one_start;
  EXPECT_EQ(*read_argv(one), words);
  EXPECT_EQ(*read_argv(one.substr(one.find('\n') + 1)), words) << "without its heading";
  EXPECT_EQ(*read_argv(one + "\n" + failed_start), words) << "a start that came to no command";
  EXPECT_FALSE(earlier_starts(one + failed_start).has_value());
  std::string second = one;
  second.replace(second.find("guest=a"), 7, "guest=b");
  EXPECT_EQ((*read_argv(one + "error: kvm run failed Bad address\nRAX=0 'x\n" + second))[2],
            "guest=b,debug-threads=on");
  EXPECT_EQ(format("F", *earlier_starts(one + second)), "F:11:1: the last of 2 starts in this log is read");
  // As libvirt before 5.0 has it, in one line.
  EXPECT_EQ((*read_argv("2014-01-02 10:00:00.1+0000: starting up\nLC_ALL=C /usr/bin/kvm -S -m 64\nchar device "
                        "redirected to /dev/pts/0\n")),
            (Words{"/usr/bin/kvm", "-S", "-m", "64"}));
  // What a terminal shows behind a command, and behind a listing of arguments.
  EXPECT_EQ(*read_argv("# mine\nqemu-system-x86_64\n-cpu\nhost\nqemu-system-x86_64: terminating on signal 2\n"),
            (Words{"qemu-system-x86_64", "-cpu", "host"}));
  EXPECT_EQ(*read_argv("qemu-system-x86_64 -cpu host \\\n -S\nqemu-system-x86_64: warning: host doesn't have it\n"),
            (Words{"qemu-system-x86_64", "-cpu", "host", "-S"}));
  EXPECT_EQ(format("F", read_argv(one + "2026-11-02 10:10:00: starting up\n/usr/bin/kvm \\\n-name 'a\n").error()),
            "F:12:7: this ' is never closed");
}

/// What looks like a line of a log, within quotes, is a part of the guest's command line: it ends no command and begins
/// none, or a guest's own words would choose which command is read.
TEST(ReadArgv, TakesNoLineOfTheLogOutOfQuotes) {
  const std::string lines =
      "a # b\n2026-11-02 10:10:00.1+0000: starting up libvirt version: 9.0.0\n/usr/bin/evil "
      "\\\n-S\nqemu-system-x86_64: x";
  const Words words{"/usr/bin/kvm", "-append", lines, "-S"};
  const std::string heading = "2026-11-02 10:00:00.1+0000: starting up libvirt version: 9.0.0\n";
  for (const std::string& before : {std::string(), heading}) {
    EXPECT_EQ(*read_argv(before + "/usr/bin/kvm \\\n-append '" + lines + "' \\\n-S\n" +
                         "2026-11-02T10:00:00Z qemu-system-x86_64: terminating\n"),
              words)
        << before;
  }
  std::string escaped = lines;
  escaped.replace(escaped.find('\\'), 1, "\\\\");
  EXPECT_EQ(*read_argv(heading + "/usr/bin/kvm -append \"" + escaped + "\" -S\nqemu: '\n"), words);
  // A quote that is none: behind a backslash, and in a comment.
  EXPECT_EQ(*read_argv(heading + "/usr/bin/kvm \\\n-name it\\'s#1 # it's\n2026-11-02 10:01:00: shutting down\n"),
            (Words{"/usr/bin/kvm", "-name", "it's#1"}));
  Vm guest;
  guest.memory_kib = 64 * 1024;
  guest.kernel = "/k";
  guest.cmdline = lines;
  Words again = *read_argv(to_qemu(guest).text);
  again.erase(again.begin());
  EXPECT_EQ(vm_of(again).cmdline, lines);
}

TEST(ReadArgv, TakesLinesAsWindowsEndsThem) {
  EXPECT_EQ(*read_argv("qemu \\\r\n -cpu host\\\r\n,+sgx\r\n"), (Words{"qemu", "-cpu", "host", ",+sgx"}));
}

TEST(ReadArgv, StandsErrorsAtAPlace) {
  const auto error = [](const char* text) { return format("e", read_argv(text).error()); };
  EXPECT_EQ(error("qemu \\\n  -name 'a"), "e:2:9: this ' is never closed");
  EXPECT_EQ(error("qemu | less"), "e:1:6: found '|', expected one command's words");
  EXPECT_EQ(error("qemu \\"), "e:1:6: found a backslash at the end, expected a character after it");
  EXPECT_EQ(error(" # nothing\n"), "e:1:1: found no words, expected QEMU's command line");
}

TEST(QemuOptions, KeepsAllOfThem) {
  const auto options = qemu_options({"-S", "-cpu", "a", "disk.img", "--cpu", "host,+sgx", "-M", "q35", "-append"});
  Words lines;
  for (const QemuOption& option : options)
    lines.push_back(std::to_string(option.index) + " " + option.name + " " + option.value);
  EXPECT_EQ(lines, (Words{"0 S ", "1 cpu a", "3  disk.img", "4 cpu host,+sgx", "6 machine q35", "8 append "}));
  EXPECT_FALSE(options.back().complete);
}

TEST(QemuFields, KnowDoubledCommas) {
  const auto fields = qemu_fields("guest=a,,b,debug-threads=on,x=1=2,plain");
  Words lines;
  for (const QemuField& field : fields)
    lines.push_back(field.name + "|" + field.value.value_or("-") + "|" + std::to_string(field.offset));
  EXPECT_EQ(lines, (Words{"guest|a,b|0", "debug-threads|on|11", "x|1=2|28", "plain|-|34"}));
}

// ------------------------------------------------------------------------------------------------ reading

TEST(FromQemu, ReadsWhatLibvirtWrites) {
  // libvirt's own test data for sgx-epc, shortened.
  const auto read = from_qemu(
      {"-name",
       "guest=QEMUGuest1,debug-threads=on",
       "-S",
       "-object",
       R"({"qom-type":"secret","id":"masterKey0","format":"raw","file":"/tmp/key"})",
       "-machine",
       "pc-q35-7.0,usb=off,dump-guest-core=off,sgx-epc.0.memdev=memepc0,sgx-epc.0.node=0,sgx-epc.1.memdev=memepc1,"
       "sgx-epc.1.node=1",
       "-accel",
       "tcg",
       "-cpu",
       "Skylake-Client-IBRS,sgx=on,sgxlc=on",
       "-m",
       "size=1048576k,slots=16,maxmem=1130496k",
       "-smp",
       "2,sockets=2,cores=1,threads=1",
       "-object",
       R"({"qom-type":"memory-backend-ram","id":"ram-node0","size":536870912})",
       "-numa",
       "node,nodeid=0,cpus=0-1,memdev=ram-node0",
       "-object",
       R"({"qom-type":"memory-backend-ram","id":"ram-node1","size":536870912})",
       "-numa",
       "node,nodeid=1,memdev=ram-node1",
       "-uuid",
       "c7a5fdbd-edaf-9455-926a-d65c16db1809",
       "-display",
       "none",
       "-object",
       R"({"qom-type":"memory-backend-epc","id":"memepc0","prealloc":true,"size":67108864,"host-nodes":[0,1],"policy":"bind"})",
       "-object",
       R"({"qom-type":"memory-backend-epc","id":"memepc1","prealloc":true,"size":16777216})"});
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->ignored.empty()) << read->ignored.front().message;
  const Vm& vm = read->vm;
  EXPECT_EQ(vm.name, "QEMUGuest1");
  EXPECT_EQ(vm.uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(vm.type, "qemu");
  EXPECT_EQ(vm.machine, "pc-q35-7.0");
  EXPECT_EQ(vm.memory_kib, 1048576u);
  EXPECT_EQ(vm.vcpus, 2u);
  EXPECT_EQ(vm.cpu.model, "Skylake-Client-IBRS");
  ASSERT_EQ(vm.epc.size(), 2u);
  EXPECT_EQ(vm.epc[0], (Epc{.kib = 65536, .host_nodes = {0, 1}, .guest_node = 0, .at = {}}));
  EXPECT_EQ(vm.epc[1], (Epc{.kib = 16384, .host_nodes = {}, .guest_node = 1, .at = {}}));
}

TEST(FromQemu, ReadsWhatPeopleWrite) {
  const Vm vm = vm_of({"-enable-kvm", "-M", "q35", "-machine", "sgx-epc.0.memdev=m1,sgx-epc.0.node=0", "-m", "2G",
                       "-smp", "sockets=2,cores=4", "-object",
                       "memory-backend-epc,id=m1,size=1G,prealloc,host-nodes=0-1,host-nodes=4,policy=bind", "-name",
                       "a,,b", "-append", "x,y", "-cpu", "host,+sgx-provisionkey"});
  EXPECT_EQ(vm.type, "kvm");
  EXPECT_EQ(vm.machine, "q35");
  EXPECT_EQ(vm.memory_kib, 2u << 20);
  EXPECT_EQ(vm.vcpus, 8u);
  EXPECT_EQ(vm.name, "a,b");
  EXPECT_EQ(vm.cmdline, "x,y");
  EXPECT_EQ(vm.cpu.mode, CpuMode::host_passthrough);
  EXPECT_EQ(vm.provision, true);
  ASSERT_EQ(vm.epc.size(), 1u);
  EXPECT_EQ(vm.epc[0], (Epc{.kib = 1 << 20, .host_nodes = {0, 1, 4}, .guest_node = {}, .at = {}}));
}

// Intel's QEMU of before 6.2, as the document used it.
TEST(FromQemu, ReadsTheOldSgxEpcOption) {
  const Vm vm = vm_of({"-object", "memory-backend-epc,id=mem1,size=64M,prealloc", "-sgx-epc", "id=epc1,memdev=mem1"});
  ASSERT_EQ(vm.epc.size(), 1u);
  EXPECT_EQ(vm.epc[0].kib, 65536u);
}

TEST(FromQemu, UnderstandsEveryFormOfAFeature) {
  EXPECT_EQ(features_of("host,sgx,+sgxlc,-sse4_2,sgx1=on,sgx-debug=off,avx2=false"),
            "sgx=on sgx1=on sgx-debug=off avx2=off sgxlc=on sse4.2=off");
  EXPECT_EQ(features_of("host,+SGX,FOO=on"), "FOO=on sgx=on") << "lint says what QEMU takes for no feature";
  // QEMU applies + after =, and - last.
  EXPECT_EQ(features_of("host,+sgx,sgx=off,-sgxlc,+sgxlc"), "sgx=on sgxlc=off");
  EXPECT_EQ(features_of("host,sgx=on,sgx=off"), "sgx=off");
  EXPECT_EQ(features_of("host,migratable=off,hv_time,model-id=x,kvm-pv-eoi=on,+kvm_pv_unhalt,kvmclock=off,+sgx"),
            "sgx=on");
}

TEST(FromQemu, TakesTheLastCpuAndTellsSo) {
  const auto read = from_qemu({"-cpu", "Skylake-Client-IBRS", "-cpu", "host,+sgx,+sgxlc"});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->vm.cpu.mode, CpuMode::host_passthrough);
  ASSERT_EQ(read->ignored.size(), 1u);
  EXPECT_EQ(format("i", read->ignored.front()), "i:1:1: this '-cpu' is ignored: a later one takes its place");
}

TEST(FromQemu, TellsWhatIsIgnored) {
  EXPECT_EQ(ignored({"disk.img", "-device", "virtio-net", "-cpu", "host,phys-bits=40", "-object",
                     "memory-backend-epc,id=a,size=1M"}),
            (Words{"i:1:1: the argument 'disk.img' is ignored", "i:2:1: the option '-device' is ignored",
                   "i:4:6: 'phys-bits' of '-cpu' is ignored",
                   "i:6:1: the EPC 'a' is ignored: no 'sgx-epc.N.memdev' names it"}));
}

TEST(FromQemu, TakesTheClocksBase) {
  const auto local = [](const Words& argv) {
    const auto read = from_qemu(argv);
    return read && read->vm.clock == Clock{.localtime = true, .ahead = 0};
  };
  EXPECT_TRUE(local({"-rtc", "base=localtime,clock=vm"}));
  EXPECT_TRUE(local({"-rtc", "base=localtime", "-rtc", "driftfix=slew"}));
  EXPECT_TRUE(local({"-localtime", "-no-hpet"}));
  EXPECT_FALSE(local({"-rtc", "base=localtime", "-rtc", "base=utc"}));
  EXPECT_EQ(ignored({"-rtc", "clock=host,base=2006-06-17T16:01:21"}),
            (Words{"i:1:12: base='2006-06-17T16:01:21' of '-rtc' is ignored: the clock has UTC"}));
}

TEST(FromQemu, AListingBeginsWithAnOptionThatQemuHas) {
  EXPECT_TRUE(from_qemu_command({"-cpu", "host"}).has_value());
  EXPECT_EQ(from_qemu_command({"---", "x"}).error().message,
            "found '---', expected QEMU's program, or an option that it has");
}

TEST(FromQemu, OneCommandOfX86IsRead) {
  const auto error = [](const std::vector<std::string>& argv) {
    const auto read = from_qemu_command(argv);
    return read ? "" : read.error().message;
  };
  EXPECT_EQ(error({"qemu-system-aarch64", "-cpu", "host"}),
            "found 'qemu-system-aarch64', expected qemu-system-x86_64: SGX is a matter of Intel's processors");
  EXPECT_EQ(error({"/usr/bin/qemu-system-i386", "-cpu", "host"}), "");
  // As render writes a domain's emulator, whatever its name.
  EXPECT_EQ(from_qemu_command({"/opt/emulator", "-name", "a", "-M", "q35"})->vm.emulator, "/opt/emulator");
  EXPECT_EQ(qemu_of({"/usr/bin/virt-install", "--cpu", "host", "-M", "x"}), std::nullopt);
  EXPECT_EQ(qemu_of({"/usr/bin/gdb", "-d", "x"}), std::nullopt);
  EXPECT_EQ(error({"qemu-system-x86_64", "-cpu", "host", "$@"}),
            "found '$@', which a shell replaces: expected what it stands for");
  EXPECT_EQ(error({"qemu-system-x86_64", "-cpu", "host", "qemu-system-x86_64", "-cpu", "max"}),
            "found 'qemu-system-x86_64', which begins another command: expected one");
}

// A command is one for every verb, also in a script, and a configuration with '=' behind its first word is none.
TEST(Commands, StandAnywhereInAScript) {
  for (const char* script : {"#!/bin/sh\nset -e\nIMG=disk.img\nqemu-system-x86_64 -m 1G\n",
                             "# x\n\nA=b\n  sudo /usr/bin/qemu-system-x86_64 \\\n -m 1G\n",
                             "A=b \\\nB='c d' \\\n/usr/bin/qemu-system-x86_64 \\\n-m 1G\n"})
    EXPECT_TRUE(is_command(script)) << script;
  for (const char* other :
       {"name = \"a\"\ndevice_model_override = \"/usr/bin/qemu-system-x86_64\"\n",
        "name = \"a\"\ndevice_model_version=\"qemu-xen\"\n", "name = \"a\"\nx = qemu\n", "sgx\nqemu64\n"})
    EXPECT_FALSE(is_command(other)) << other;
}

TEST(FromQemu, SomeProgramsHaveKvmByThemselves) {
  EXPECT_EQ(from_qemu_command({"/usr/libexec/qemu-kvm", "-m", "64"})->vm.type, "kvm");
  EXPECT_EQ(from_qemu_command({"kvm", "-accel", "tcg"})->vm.type, "qemu");
  EXPECT_EQ(from_qemu_command({"qemu-system-x86_64", "-m", "64"})->vm.type, "qemu");
  EXPECT_EQ(from_qemu_command({"kvm", "-no-kvm"})->vm.type, "qemu");
  EXPECT_EQ(from_qemu({"-enable-kvm", "-no-kvm"})->vm.type, "qemu");
  EXPECT_EQ(from_qemu({"-M", "q35,accel=tcg", "-enable-kvm"})->vm.type, "kvm");
  EXPECT_EQ(from_qemu({"-M", "accel=kvm", "-machine", "accel=tcg"})->vm.type, "qemu");
  EXPECT_EQ(from_qemu({"-accel", "kvm", "-accel", "tcg"})->vm.type, "kvm");
}

TEST(FromQemu, PropertiesOfAProcessorsClassAreItsFeatures) {
  const auto read = from_qemu({"-global", "host-x86_64-cpu.sgx=on", "-cpu", "host,-vmx", "-global", "x86_64-cpu.vmx=on",
                               "-global", "Penryn-x86_64-cpu.avx=on", "-global", "PIIX4_PM.disable_s3=1"});
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->vm.cpu.features.size(), 2u);
  EXPECT_EQ(read->vm.cpu.features[1].name, "sgx");
  EXPECT_EQ(read->vm.cpu.features[0].policy, FeaturePolicy::disable);
  ASSERT_EQ(read->ignored.size(), 1u);
  EXPECT_EQ(read->ignored[0].message, "'avx' of '-global' is ignored: '-cpu' chooses no such processor");
}

TEST(FromQemu, StandsErrorsAtAnArgument) {
  EXPECT_EQ(error_of({"-rtc", "base=noon"}),
            "e:1:1: '-rtc': found 'noon', expected 'utc', 'localtime' or a date such as '2006-06-17T16:01:21'");
  EXPECT_EQ(error_of({"-S", "-cpu"}), "e:2:1: '-cpu': the value is missing");
  EXPECT_EQ(error_of({"-cpu", "+sgx"}), "e:1:1: '-cpu': found '+sgx', expected a CPU model, then ',FEATURE=on|off'");
  EXPECT_EQ(error_of({"-m", "lots"}), "e:1:1: '-m': found 'lots', expected a size such as '512' (MiB) or '2G'");
  EXPECT_EQ(error_of({"-uuid", "c7"}), "e:1:1: '-uuid': found 'c7', expected 32 hexadecimal digits");
  EXPECT_EQ(error_of({"-smp", "0"}), "e:1:1: '-smp': found '0', expected a number from 1 to 4096");
  EXPECT_EQ(error_of({"-accel", "hax"}), "e:1:1: '-accel': found 'hax', expected 'kvm' or 'tcg'");
  EXPECT_EQ(error_of({"-M", "q35,sgx-epc.0.memdev=m"}),
            "e:1:5: sgx-epc.0: found memdev 'm', expected a memory-backend-epc's id");
  EXPECT_EQ(error_of({"-M", "q35,sgx-epc.1.memdev=m"}), "e:1:5: found sgx-epc.1, but no sgx-epc.0");
  EXPECT_EQ(error_of({"-object", "memory-backend-epc,id=m,size=64M", "-M", "sgx-epc.0.memdev=m,sgx-epc.0.node=1"}),
            "e:3:20: sgx-epc.0: found node 1, but no '-numa' that makes nodes");
  EXPECT_EQ(error_of({"-numa", "node,memdev=m"}), "e:1:6: '-numa': found memdev 'm', expected a memory-backend's id");
  EXPECT_EQ(error_of({"-m", "64", "-numa", "node,nodeid=1,mem=64"}), "e:3:1: '-numa': found node 1, but no node 0");
  EXPECT_EQ(error_of({"-smp", "2", "-numa", "node,cpus=0-1,mem=64", "-numa", "node,cpus=1,mem=64"}),
            "e:5:1: '-numa': the processor 1 is in two nodes");
  EXPECT_EQ(error_of({"-numa", "node,mem=0x"}), "e:1:6: '-numa': found '0x', expected a size such as '64M'");
  EXPECT_EQ(error_of({"-object", "{\"qom-type\":"}),
            "e:1:1: '-object': found '{\"qom-type\":', expected one JSON object");
  EXPECT_EQ(error_of({"-object", "memory-backend-epc,id=a"}), "e:1:1: '-object': 'a' has no size");
  EXPECT_EQ(error_of({"-cpu=host,+sgx"}),
            "e:1:1: found '-cpu=host,+sgx', expected an option and its value as two arguments");
  EXPECT_EQ(error_of({"-cpu", "host,sgx=maybe"}),
            "e:1:6: '-cpu': found 'sgx=maybe', expected 'on' or 'off' as the value");
  for (const char* size : {"64", "5000", "4095", "6k", "1.5k"})
    EXPECT_EQ(error_of({"-object", std::string("memory-backend-epc,id=a,size=") + size}),
              std::string("e:1:25: '-object': found '") + size +
                  "', expected whole pages of 4 KiB: a size without a suffix is one in bytes");
  EXPECT_EQ(
      error_of({"-M", "microvm,sgx-epc.0.memdev=m,sgx-epc.0.node=0", "-object", "memory-backend-epc,id=m,size=8k"}),
      "e:1:1: EPC of the machine 'microvm', which gives its guests none: expected 'q35' or 'pc'");
}

// ------------------------------------------------------------------------------------------------ writing

TEST(ToQemu, WritesOneOptionALine) {
  Vm vm;
  vm.name = "a,b c";
  vm.memory_kib = 512 << 10;
  vm.vcpus = 2;
  vm.kernel = "/k";
  vm.cmdline = "it's";
  vm.cpu = {.mode = CpuMode::custom, .model = "Icelake-Server", .features = {}};
  for (const char* name : {"sgxlc", "sgx", "sse4.2", "sgx2", "sgx-kss"})
    put_feature(vm.cpu, name, FeaturePolicy::require);
  vm.provision = false;
  vm.epc = {{.kib = 65536, .host_nodes = {0, 1, 4}, .guest_node = 1, .at = {}},
            {.kib = 100, .host_nodes = {}, .guest_node = std::nullopt, .prealloc = false, .at = {}}};
  const Rendered rendered = to_qemu(vm);
  EXPECT_TRUE(rendered.losses.empty());
  EXPECT_EQ(rendered.text, R"(qemu-system-x86_64 \
  -name 'guest=a,,b c' \
  -object memory-backend-epc,id=memepc0,size=64M,prealloc=on,host-nodes=0-1,host-nodes=4,policy=bind \
  -object memory-backend-epc,id=memepc1,size=100k,prealloc=off \
  -M q35,sgx-epc.0.memdev=memepc0,sgx-epc.0.node=1,sgx-epc.1.memdev=memepc1,sgx-epc.1.node=0 \
  -accel kvm \
  -cpu Icelake-Server,sgx=on,sgx-kss=on,sgx-provisionkey=off,sgx2=on,sgxlc=on,sse4.2=on \
  -m 512M \
  -smp 2 \
  -object memory-backend-ram,id=ram-node0,size=256M \
  -numa node,nodeid=0,cpus=0,memdev=ram-node0 \
  -object memory-backend-ram,id=ram-node1,size=256M \
  -numa node,nodeid=1,cpus=1,memdev=ram-node1 \
  -kernel /k \
  -append 'it'\''s' \
  -nographic
)");
  // A shell reads back what a program would be given.
  Words argv = *read_argv(rendered.text);
  argv.erase(argv.begin());
  EXPECT_EQ(argv, qemu_argv(vm));
}

// QEMU 7.2 starts no pc with more, and no q35 with more without remapped interrupts; nor does libvirt 9.
TEST(ToQemu, SaysWhatMoreThan255ProcessorsWant) {
  Vm vm = tests::plain_vm();
  vm.vcpus = 255;
  EXPECT_TRUE(to_qemu(vm).losses.empty());
  vm.vcpus = 256;
  ASSERT_EQ(to_qemu(vm).losses.size(), 1u);
  EXPECT_EQ(to_qemu(vm).losses.front().what, "interrupt remapping for 256 processors");
  EXPECT_TRUE(to_qemu(vm).losses.front().minor);
  EXPECT_EQ(to_libvirt(vm).losses, to_qemu(vm).losses);
}

TEST(ToQemu, WritesANodeWithoutMemoryAsQemuTakesIt) {
  Vm vm = tests::plain_vm();
  vm.nodes = {{.kib = vm.memory_kib, .cpus = {0}}, {.kib = 0, .cpus = {}}};
  const Words argv = qemu_argv(vm);
  EXPECT_TRUE(std::ranges::count(argv, "node,nodeid=1")) << to_qemu(vm).text;
  const auto again = from_qemu(argv);
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(again->vm.nodes, vm.nodes);
  EXPECT_EQ(from_libvirt(to_libvirt(vm).text)->vm.nodes, vm.nodes);
}

// libvirt's command of a guest that may get more processors has nodes for all of them.
TEST(FromQemu, TakesTheProcessorsThatAreThereAtTheStart) {
  const auto read = from_qemu(
      {"-m", "64", "-smp", "2,maxcpus=4", "-numa", "node,cpus=0,cpus=2,mem=32", "-numa", "node,cpus=1,cpus=3,mem=32"});
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->vm.nodes, (std::vector<GuestNode>{{32 << 10, {0}}, {32 << 10, {1}}}));
  ASSERT_EQ(read->ignored.size(), 2u);
  EXPECT_EQ(read->ignored[1].message, "processors of '-numa' from 2 on are ignored: '-smp' has no more at the start");
}

TEST(FromQemu, TakesLibvirtsBackendOfANodeWithoutRam) {
  const auto read = from_qemu(
      {"-m", "64", "-object", R"({"qom-type":"memory-backend-ram","id":"ram-node0","size":67108864})", "-numa",
       "node,nodeid=0,cpus=0,memdev=ram-node0", "-object",
       R"({"qom-type":"memory-backend-ram","id":"ram-node1","size":0})", "-numa", "node,nodeid=1,memdev=ram-node1"});
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->vm.nodes, (std::vector<GuestNode>{{64 << 10, {0}}, {0, {}}}));
}

// `qm showcmd` of Proxmox.
TEST(FromQemu, TakesProxmoxsMachine) {
  const auto read = from_qemu({"-machine", "type=pc-q35-7.2+pve0"});
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->vm.machine, "pc-q35-7.2");
  ASSERT_EQ(read->ignored.size(), 1u);
  EXPECT_EQ(format("i", read->ignored[0]), "i:1:1: '+pve0' of the machine is ignored");
  // libvirt and QEMU have no such names.
  EXPECT_EQ(error_of({"-cpu", "host,a+b=on"}), "e:1:6: '-cpu': found 'a+b', expected a CPU feature's name");
}

TEST(FromQemu, OneNodeHasAllProcessors) {
  EXPECT_TRUE(from_qemu({"-m", "64", "-smp", "4", "-numa", "node,mem=64"})->vm.nodes.empty());
}

TEST(ToQemu, HasNoCommandLineWithoutAKernel) {
  Vm vm = tests::plain_vm();
  vm.kernel.clear();
  vm.ramdisk = "/initrd";
  vm.cmdline = "quiet";
  const Rendered rendered = to_qemu(vm);
  EXPECT_EQ(rendered.text.find("-initrd"), rendered.text.npos);
  EXPECT_EQ(rendered.text.find("-append"), rendered.text.npos);
  EXPECT_TRUE(std::ranges::any_of(rendered.losses, [](const Loss& loss) {
    return loss == Loss{"cmdline 'quiet'", "QEMU takes it beside a kernel only", true};
  }));
}

TEST(ToQemu, EpcIsWholePages) {
  Vm vm = tests::plain_vm();
  vm.epc = {{.kib = 4097, .host_nodes = {}, .guest_node = {}, .at = {}}};
  const Rendered written = to_qemu(vm);
  EXPECT_NE(written.text.find("size=4100k"), std::string::npos) << written.text;
  ASSERT_EQ(written.losses.size(), 1u);
  EXPECT_EQ(written.losses[0].why, "it is of whole pages, 4100 KiB");
  EXPECT_TRUE(written.losses[0].minor);
}

TEST(ToQemu, ListsWhatQemuCannotSay) {
  Vm vm = tests::plain_vm();
  vm.cpu.mode = CpuMode::host_model;
  put_feature(vm.cpu, "sgx", FeaturePolicy::force);
  put_feature(vm.cpu, "sgxlc", FeaturePolicy::optional);
  put_feature(vm.cpu, "sgx-aex-notify", FeaturePolicy::require);
  put_feature(vm.cpu, "sgx-oss", FeaturePolicy::disable);
  vm.launch.hash = std::array<u64, 4>{1, 0, 0, 0};
  vm.clock = {.localtime = true, .ahead = 60};
  Words lines;
  for (const Loss& loss : to_qemu(vm).losses) lines.push_back(loss.what + ": " + loss.why);
  EXPECT_EQ(lines, (Words{"CPU mode host-model: QEMU has the host's processor as it is, or a named model",
                          "policy 'force' of feature sgx: QEMU knows 'on' and 'off' only",
                          "policy 'optional' of feature sgxlc: QEMU knows 'on' and 'off' only",
                          "feature sgx-aex-notify: QEMU 7.2 has no word for it",
                          "feature sgx-oss: QEMU 7.2 has no word for it",
                          "clock 60 s ahead of local time: QEMU's -rtc has no word for a difference",
                          "launch hash 0100000000000000000000000000000000000000000000000000000000000000: QEMU cannot "
                          "set IA32_SGXLEPUBKEYHASH, and a guest starts with Intel's"}));
}

TEST(ToQemu, WritesTheClocksBaseAlone) {
  Vm vm = tests::plain_vm();
  EXPECT_EQ(to_qemu(vm).text.find("-rtc"), std::string::npos);
  vm.clock = {.localtime = true, .ahead = -5};
  EXPECT_NE(to_qemu(vm).text.find("  -rtc base=localtime \\\n"), std::string::npos) << to_qemu(vm).text;
  // Only the guest's date is another: worth telling, and no error.
  ASSERT_EQ(to_qemu(vm).losses.size(), 1u);
  EXPECT_EQ(to_qemu(vm).losses[0].what, "clock 5 s behind local time");
  EXPECT_TRUE(to_qemu(vm).losses[0].minor);
}

}  // namespace
}  // namespace cloister::toolstack::vm
