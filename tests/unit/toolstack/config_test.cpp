// What the keys of a configuration file mean, and how a wrong value is refused (docs/configuration.md).
#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/bootloader.hpp"
#include "config/keys.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string least_config = "name = 'd'\nkernel = 'k'\n";

ReadConfig good(const std::string& more) {
  auto read = read_config(least_config + more);
  EXPECT_TRUE(read.has_value()) << more << (read ? "" : format("", read.error()));
  return read.value_or(ReadConfig{});
}

TEST(Config, TheLeastFileHasTheDefaultsThatTheDocumentationGives) {
  const ReadConfig read = good("");
  const DomainConfig& config = read.config;
  EXPECT_THAT(read.warnings, IsEmpty());
  EXPECT_EQ(config.name, "d");
  EXPECT_EQ(config.uuid, "");
  EXPECT_EQ(config.sgx_platform, std::nullopt);
  EXPECT_EQ(config.kernel, "k");
  EXPECT_EQ(config.memory_mib, 512u);
  EXPECT_EQ(config.vcpus, 1u);
  EXPECT_EQ(config.restart_limit, 10u);
  EXPECT_EQ(config.restart_window, 300u);
  EXPECT_EQ(config.ramdisk, "");
  EXPECT_EQ(config.cmdline, "");
  EXPECT_THAT(config.cpuid, IsEmpty());
  EXPECT_EQ(config.on_poweroff, Action::destroy);
  EXPECT_EQ(config.on_reboot, Action::restart);
  EXPECT_EQ(config.on_crash, Action::destroy);
  EXPECT_EQ(config.on_host_shutdown, HostShutdown::shutdown);
  EXPECT_EQ(config.epc_mib(), 0u);
  EXPECT_EQ(config.lehash, std::nullopt);
  EXPECT_TRUE(config.lewr);
  EXPECT_FALSE(config.sgx_provision);
  EXPECT_FALSE(config.localtime);
  EXPECT_EQ(config.rtc_timeoffset, 0);
}

TEST(Config, TheClockIsUtcLocalTimeOrAhead) {
  const DomainConfig config = good("localtime = 1\nrtc_timeoffset = 0x10\n").config;
  EXPECT_TRUE(config.localtime);
  EXPECT_EQ(config.rtc_timeoffset, 16);
  EXPECT_EQ(good("rtc_timeoffset = '-3600'").config.rtc_timeoffset, -3600);
  EXPECT_EQ(good("rtc_timeoffset = '-010'").config.rtc_timeoffset, -8);
  EXPECT_EQ(good("rtc_timeoffset = '-1000000000'").config.rtc_timeoffset, -1'000'000'000);
}

TEST(Config, NumbersAreDecimalHexadecimalOrOctalAlsoInQuotes) {
  EXPECT_EQ(good("memory = 256").config.memory_mib, 256u);
  EXPECT_EQ(good("memory = 0x100").config.memory_mib, 256u);
  EXPECT_EQ(good("memory = 0400").config.memory_mib, 256u);
  EXPECT_EQ(good("memory = '256'").config.memory_mib, 256u);
}

TEST(Config, CommandLineIsCmdlineOrRootAndExtra) {
  EXPECT_EQ(good("cmdline = 'console=ttyS0 quiet'").config.cmdline, "console=ttyS0 quiet");
  EXPECT_EQ(good("root = '/dev/vda'").config.cmdline, "root=/dev/vda");
  EXPECT_EQ(good("extra = 'quiet'").config.cmdline, "quiet");
  EXPECT_EQ(good("extra = 'quiet'\nroot = '/dev/vda ro'").config.cmdline, "root=/dev/vda ro quiet");
  EXPECT_EQ(good("extra = 'quiet'\nextra += ' debug'").config.cmdline, "quiet debug");
}

TEST(Config, CmdlineWinsOverRootAndExtraWithAWarning) {
  const ReadConfig read = good("root = '/dev/vda'\ncmdline = 'quiet'\n");
  EXPECT_EQ(read.config.cmdline, "quiet");
  EXPECT_THAT(read.warnings, ElementsAre(Diagnostic{{3, 8}, "'root' is ignored, since 'cmdline' is set"}));
}

TEST(Config, LaunchKeyHashIsWrittenFirstByteFirst) {
  const std::string intel = "acb77012053e05a63d413b8bbae8fb6c5d73b3f29961d9c4acb77012053e05a6";
  const auto hash = good("epc = 1\nlehash = '" + intel + "'").config.lehash;
  ASSERT_TRUE(hash.has_value());
  EXPECT_THAT(*hash, ElementsAre(0xa6053e051270b7ac, 0x6cfbe8ba8b3b413d, 0xc4d96199f2b3735d, 0xa6053e051270b7ac));
}

TEST(Config, EpcIsASizeOrAListOfSections) {
  const EpcSection one{.mib = 64, .package = std::nullopt};
  EXPECT_THAT(good("epc = 64").config.epc, ElementsAre(one));
  EXPECT_THAT(good("epc = ['size=64']").config.epc, ElementsAre(one));
  EXPECT_THAT(good("epc = 0").config.epc, IsEmpty());
  const auto two = good("epc = ['size=64,package=1', 'package = 0, size = 0x20']").config;
  EXPECT_THAT(two.epc, ElementsAre(EpcSection{64, 1}, EpcSection{32, 0}));
  EXPECT_EQ(two.epc_mib(), 96u);
}

TEST(Config, CpuidForcesFeaturesTheLastWordCounting) {
  using policy::CpuidOverride;
  EXPECT_THAT(good("cpuid = 'host'").config.cpuid, IsEmpty());
  EXPECT_THAT(good("cpuid = 'host,sgxlc=0,sse4.2=1'").config.cpuid,
              ElementsAre(CpuidOverride{"sgxlc", false}, CpuidOverride{"sse4.2", true}));
  EXPECT_THAT(good("cpuid = 'host, sgx = 0 ,'").config.cpuid, ElementsAre(CpuidOverride{"sgx", false}));
  EXPECT_THAT(good("cpuid = 'host,sgx=x,aes=k,popcnt=s'").config.cpuid, IsEmpty()) << "the processor's, as without";
  EXPECT_THAT(good("cpuid = 'host,sgxlc=0,sgx_lc=1'").config.cpuid, ElementsAre(CpuidOverride{"sgx_lc", true}));
  EXPECT_THAT(good("cpuid = 'host,sgxlc=0,sgxlc=x'").config.cpuid, IsEmpty());
}

// xl.cfg(5), "cpuid": a letter for each bit, bit 31 first.
TEST(Config, CpuidInRegistersForcesTheirFeatures) {
  using policy::CpuidOverride;
  EXPECT_THAT(good("cpuid = ['0x7,0:ecx=x0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,ebx=kkkkkkkkkkkkkkkkkkkkkkkkkkkkk1ss',"
                   " '1:ecx=xxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxx']")
                  .config.cpuid,
              ElementsAre(CpuidOverride{"sgxlc", false}, CpuidOverride{"sgx", true}, CpuidOverride{"sse4.2", false}));
  EXPECT_THAT(good("cpuid = ['18,0:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0x', '0x12:eax=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx1x']")
                  .config.cpuid,
              ElementsAre(CpuidOverride{"sgx2", true}))
      << "the last word counts";
  EXPECT_THAT(good("cpuid = []").config.cpuid, IsEmpty());
}

// As Nova's cpu_model_extra_flags has them, in the words of libvirt, QEMU and libxl.
TEST(Config, CpuFlagsStandBesideAModelTheLastWordCounting) {
  using policy::CpuidOverride;
  const auto flags = [](const std::string& value) {
    return good("silicon = 'Skylake-Client-IBRS'\ncpu_flags = " + value).config.cpu_flags;
  };
  EXPECT_THAT(flags("''"), IsEmpty());
  EXPECT_THAT(flags("[]"), IsEmpty());
  EXPECT_THAT(flags("'sgx, +sgx1 -avx2,'"),
              ElementsAre(CpuidOverride{"sgx", true}, CpuidOverride{"sgx1", true}, CpuidOverride{"avx2", false}));
  EXPECT_THAT(flags("['sgx', '-sgx_lc', '+sgxlc']"),
              ElementsAre(CpuidOverride{"sgx", true}, CpuidOverride{"sgxlc", true}));
  EXPECT_THAT(flags("'rdctl-no'"), ElementsAre(CpuidOverride{"rdctl-no", true})) << "a bit of an MSR";
  EXPECT_EQ(good("silicon = 'Skylake-Client-v2'").config.silicon, "Skylake-Client-v2");
}

// As xl-disk-configuration(5) has them.
TEST(Config, DisksAreFieldsByPlaceOrByName) {
  const auto disks = [](const std::string& value) { return good("disk = " + value).config.disks; };
  const auto disk = [](const std::string& path, const std::string& vdev, bool read_only, Position at = {3, 9}) {
    return DiskConfig{.path = path, .vdev = vdev, .read_only = read_only, .at = at};
  };
  EXPECT_THAT(disks("[]"), IsEmpty());
  EXPECT_THAT(disks("['root.img,raw,xvda,rw']"), ElementsAre(disk("root.img", "xvda", false)));
  EXPECT_THAT(disks("['/dev/vg/b, raw, sdp, r']"), ElementsAre(disk("/dev/vg/b", "sdp", true)));
  EXPECT_THAT(disks("['a,raw,hda,w']"), ElementsAre(disk("a", "hda", false)));
  EXPECT_THAT(disks("['a,raw,vda']"), ElementsAre(disk("a", "vda", false))) << "it can be written unless it is said";
  EXPECT_THAT(disks("['vdev=xvda, access=ro, format=raw, target= a,b=c ']"), ElementsAre(disk(" a,b=c ", "xvda", true)))
      << "a target by its name is the rest, blanks and all";
  EXPECT_THAT(disks("[',raw,xvda,,target=/a']"), ElementsAre(disk("/a", "xvda", false)))
      << "what is empty says nothing";
  EXPECT_THAT(disks("['a,access=ro,raw,vdev=xvda']"), ElementsAre(disk("a", "xvda", true)));
  EXPECT_THAT(disks("['b,raw,xvdb', 'a,raw,xvda']"),
              ElementsAre(disk("a", "xvda", false, {3, 23}), disk("b", "xvdb", false)))
      << "in the order of their places";
  EXPECT_THAT(good("disk = ['a,raw,xvda']\ndisk += ['b,raw,xvdc,ro']").config.disks, SizeIs(2));
  auto chain = disk("top", "xvda", false);
  chain.format = "qcow2";
  chain.backing = {{.format = "qcow2", .path = "/b=c"}, {.format = "raw", .path = "base:1"}};
  EXPECT_THAT(disks("['format=qcow2,vdev=xvda, backing = qcow2:/b=c ,backing=raw:base:1,target=top']"),
              ElementsAre(chain));
}

TEST(Config, ActionsAreDestroyRestartAndPreserve) {
  const DomainConfig config = good("on_poweroff = 'restart'\non_reboot = 'destroy'\non_crash = 'restart'\n").config;
  EXPECT_EQ(config.on_poweroff, Action::restart);
  EXPECT_EQ(config.on_reboot, Action::destroy);
  EXPECT_EQ(config.on_crash, Action::restart);
  EXPECT_EQ(good("on_poweroff = 'preserve'").config.on_poweroff, Action::preserve);
}

TEST(Config, ShutdownTimeoutIsInSeconds) {
  EXPECT_EQ(good("").config.shutdown_timeout, 60u);
  EXPECT_EQ(good("shutdown_timeout = 0").config.shutdown_timeout, 0u);
  EXPECT_EQ(good("shutdown_timeout = 86400").config.shutdown_timeout, 86'400u);
}

TEST(Config, WhatTheHostsGoingDownDoesIsOneOfTwo) {
  EXPECT_EQ(good("on_host_shutdown = 'destroy'").config.on_host_shutdown, HostShutdown::destroy);
  EXPECT_EQ(good("on_host_shutdown = 'shutdown'").config.on_host_shutdown, HostShutdown::shutdown);
  EXPECT_EQ(good("on_host_shutdown = 'save'").config.on_host_shutdown, HostShutdown::save);
}

TEST(Config, InterfacesAreKeysAndValues) {
  const auto interfaces = [](const std::string& value) { return good("vif = " + value).config.interfaces; };
  EXPECT_THAT(interfaces("[]"), IsEmpty());
  EXPECT_THAT(interfaces("['type=user']"), ElementsAre(InterfaceConfig{.at = {3, 8}}));
  EXPECT_THAT(interfaces("[' type = user , mac=52:54:00:AB:cd:0e,, host=allow ']"),
              ElementsAre(InterfaceConfig{
                  .mac = MacAddress{0x52, 0x54, 0, 0xab, 0xcd, 0xe}, .reaches_host = true, .at = {3, 8}}));
  const auto ports =
      interfaces("['type=user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-:5353,hostfwd=tcp:[::1]:8080-:80']");
  ASSERT_THAT(ports, SizeIs(1));
  EXPECT_THAT(ports[0].forwards,
              ElementsAre(PortForward{.udp = false, .address = "127.0.0.1", .host_port = 2222, .guest_port = 22},
                          PortForward{.udp = true, .address = "", .host_port = 53, .guest_port = 5353},
                          PortForward{.udp = false, .address = "::1", .host_port = 8080, .guest_port = 80}));
  EXPECT_THAT(interfaces("['bridge=xenbr0,mac=00:16:3e:00:00:01', 'bridge = br-1.2_x, vifname=v1.0']"),
              ElementsAre(InterfaceConfig{.bridge = "xenbr0", .mac = MacAddress{0, 0x16, 0x3e, 0, 0, 1}, .at = {3, 8}},
                          InterfaceConfig{.bridge = "br-1.2_x", .host_name = "v1.0", .at = {3, 47}}));
  EXPECT_THAT(interfaces("['bridge=br0,queues=8']"),
              ElementsAre(InterfaceConfig{.bridge = "br0", .queues = 8, .at = {3, 8}}));
  EXPECT_THAT(interfaces("['type=user,hostfwd=tcp::1-:1', 'type=user,hostfwd=udp::1-:1,hostfwd=tcp:10.0.0.1:1-:1']"),
              SizeIs(2))
      << "each another port";
}

TEST(Config, VsockIsANumberAndAPath) {
  const auto vsock = [](const std::string& value) {
    return good("vsock = " + value).config.vsock.value_or(SocketsConfig{});
  };
  EXPECT_FALSE(good("vcpus = 1").config.vsock);
  EXPECT_EQ(vsock("3"), SocketsConfig{.cid = 3});
  EXPECT_EQ(vsock("'4294967294'"), SocketsConfig{.cid = 0xffff'fffe});
  EXPECT_EQ(vsock("'auto'"), SocketsConfig{});
  EXPECT_EQ(vsock("'auto'").guest_cid(), 3u);
  EXPECT_EQ(vsock("'cid=7'").guest_cid(), 7u);
  EXPECT_EQ(vsock("'path=/a b/c,d=e'"), (SocketsConfig{.cid = std::nullopt, .path = "/a b/c,d=e"}));
  EXPECT_EQ(vsock("'cid=auto,path=/a'"), (SocketsConfig{.cid = std::nullopt, .path = "/a"}));
}

TEST(Config, ABootloaderStandsInPlaceOfAKernel) {
  const auto with = [](const std::string& more) {
    const auto read = read_config("name = 'd'\ndisk = ['a,raw,xvda']\nbootloader = 'pygrub'\n" + more);
    return read ? bootloader_args_text(read->config.bootloader_options) : format("", read.error());
  };
  EXPECT_EQ(with(""), "");
  EXPECT_EQ(with("bootloader = '/usr/lib/xen-4.17/bin/pygrub'"), "");
  EXPECT_EQ(with("bootloader_args = []"), "");
  EXPECT_EQ(with("bootloader_args = ['-q', '--entry=2', '--quiet']"), "[\"--entry=2\"]");
  EXPECT_EQ(with("bootloader_args = '--kernel=/k  --ramdisk=/r'"), "[\"--kernel=/k\", \"--ramdisk=/r\"]");
  EXPECT_THAT(with("bootloader = 'grub'"), HasSubstr("found \"grub\", expected \"pygrub\""));
  EXPECT_THAT(with("kernel = 'k'"), HasSubstr(":4:10: 'kernel': found beside 'bootloader'"));
  EXPECT_THAT(with("ramdisk = 'r'"), HasSubstr(":4:11: 'ramdisk': found beside 'bootloader'"));
  for (const char* option : {"--kernel", "--kernel=", "--kernel=relative", "--kernel=/a\\x00b",
                             "--entry=", "--entry=-1", "--entry=4294967296", "--args=a", "x", ""})
    EXPECT_THAT(with("bootloader_args = ['" + std::string(option) + "']"), HasSubstr("expected \"--kernel=PATH\""))
        << option;
  EXPECT_THAT(with("bootloader_args = [['-q']]"), HasSubstr("found a list"));
  EXPECT_THAT(with("bootloader_args = ['--ramdisk=/r']"), HasSubstr("--ramdisk without --kernel"));
  EXPECT_THAT(with("bootloader_args = ['--kernel=/k', '--entry=1']"), HasSubstr("--entry beside --kernel"));
  EXPECT_EQ(read_config("name = 'd'\nbootloader = 'pygrub'").error().message,
            "'bootloader': found without a disk, on which it would look");
  EXPECT_EQ(read_config("name = 'd'\nbootloader = 'pygrub'\ndisk = ['a,qcow2,xvda,backing=raw:b']").error().message,
            "'bootloader': found a first disk with a backing file, expected one that is whole");
  EXPECT_EQ(read_config("name = 'd'\nbootloader = 'pygrub'\ndisk = ['nbd:unix:/a,raw,xvda']").error().message,
            "'bootloader': found a first disk that another program serves, expected a file");
  EXPECT_EQ(read_config("name = 'd'\nkernel = 'k'\nbootloader_args = []").error().message,
            "'bootloader_args': found without 'bootloader'");
}

TEST(Config, AUuidIsKeptInItsCanonicalForm) {
  EXPECT_EQ(good("uuid = 'C7A5FDBD-EDAF-9455-926A-D65C16DB1809'").config.uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
}

TEST(Config, RestartsHaveALimitAndAWindow) {
  const DomainConfig config = good("restart_limit = 0\nrestart_window = 86400\n").config;
  EXPECT_EQ(config.restart_limit, 0u);
  EXPECT_EQ(config.restart_window, 86400u);
}

TEST(Config, UnknownKeysAreWarnedOfWithTheNearestOne) {
  const ReadConfig read = good("memroy = 3\nvfb = ['vnc=1']\n");
  EXPECT_THAT(read.warnings, ElementsAre(Diagnostic{{3, 1}, "unknown key 'memroy' is ignored, did you mean 'memory'?"},
                                         Diagnostic{{4, 1}, "unknown key 'vfb' is ignored"}));
}

TEST(Config, ManyWarningsAreCountedAndTheFirstOnesTold) {
  const auto with = [](unsigned unknown) {
    std::string text = "root = 'a'; cmdline = 'b'\n";
    for (unsigned i = 0; i < unknown; ++i) text += "usbdev" + std::to_string(i) + " = 1; memory = 512\n";
    return good(text).warnings;
  };
  EXPECT_EQ(with(30).size(), 1 + 30 + 29u);
  const std::vector<Diagnostic> many = with(9'000);
  ASSERT_EQ(many.size(), most_warnings);
  EXPECT_EQ(many[0].message, "'root' is ignored, since 'cmdline' is set");
  EXPECT_EQ(many[1], (Diagnostic{{4, 1}, "unknown key 'usbdev0' is ignored"}));
  EXPECT_EQ(many.back(), (Diagnostic{{}, std::to_string(1 + 9'000 + 8'999 - 63) + " more warnings are left out"}));
}

TEST(Config, LaunchControlKeysWithoutEpcAreWarnedOf) {
  EXPECT_THAT(good("lewr = 0").warnings,
              ElementsAre(Diagnostic{{3, 8}, "'lewr' has no effect in a domain without 'epc'"}));
  EXPECT_THAT(good("lewr = 0\nepc = 1").warnings, IsEmpty());
  EXPECT_THAT(good("sgx_provision = 1").warnings,
              ElementsAre(Diagnostic{{3, 17}, "'sgx_provision' has no effect in a domain without 'epc'"}));
  EXPECT_TRUE(good("sgx_provision = 1\nepc = 1").config.sgx_provision);
}

TEST(Config, WithLessEpcThanItSeesADomainIsPaged) {
  const DomainConfig all = good("epc = 64\nepc_min = 64").config, paged = good("epc = 64\nepc_min = 8").config;
  EXPECT_FALSE(all.epc_is_paged());
  EXPECT_EQ(all.epc_frames(), all.epc);
  EXPECT_EQ(all.epc_memory_mib(), 64u);
  EXPECT_TRUE(paged.epc_is_paged());
  EXPECT_EQ(paged.epc_frames(), (std::vector<EpcSection>{{.mib = 8, .package = std::nullopt}}));
  EXPECT_EQ(paged.epc_memory_mib(), 8u + 64 + 2);
  EXPECT_FALSE(good("epc_min = 1").config.epc_is_paged());
}

TEST(Config, OfItsLeastEpcEachSectionHasItsPart) {
  const auto parts = [](const std::string& epc, u64 min) {
    std::vector<u64> mib;
    for (const EpcSection& section : good("epc = " + epc + "\nepc_min = " + std::to_string(min)).config.epc_frames())
      mib.push_back(section.mib);
    return mib;
  };
  EXPECT_THAT(parts("['size=32', 'size=64,package=1', 'size=32']", 16), ElementsAre(4, 8, 4));
  EXPECT_THAT(parts("['size=1', 'size=100', 'size=1']", 10), ElementsAre(1, 8, 1));
  EXPECT_THAT(parts("['size=100', 'size=1', 'size=1']", 3), ElementsAre(1, 1, 1));
  EXPECT_THAT(parts("['size=3', 'size=3', 'size=3']", 8), ElementsAre(2, 3, 3));
  EXPECT_EQ(good("epc = ['size=32', 'size=64,package=1']\nepc_min = 3").config.epc_frames()[1].package, 1u);
  for (u64 min = 3; min < 60; ++min) {
    const auto mib = parts("['size=7', 'size=50', 'size=3']", min);
    EXPECT_EQ(mib[0] + mib[1] + mib[2], min);
    EXPECT_TRUE(mib[0] >= 1 && mib[0] <= 7 && mib[1] >= 1 && mib[1] <= 50 && mib[2] >= 1 && mib[2] <= 3) << min;
  }
}

struct Bad {
  const char* text;  ///< after the two lines of the least file
  u32 line, column;
  std::vector<const char*> says;
};

TEST(Config, WrongValuesAreRefusedWhereTheyStand) {
  const Bad cases[] = {
      {"memory = 'lots'",
       3,
       10,
       {"'memory'", "found \"lots\"", "a number from 16 to 1048576 (in MiB, without a unit)"}},
      {"memory = 15", 3, 10, {"found 15", "from 16"}},
      {"memory = 99999999999999999999999", 3, 10, {"from 16 to 1048576"}},
      {"memory = 08", 3, 10, {"found 08"}},
      {"memory = [512]", 3, 10, {"found a list", "a number"}},
      {"\nepc = '64M'", 4, 7, {"'epc'", "found \"64M\"", "in MiB, without a unit"}},
      {"epc = ['size=64', 'siez=32']", 3, 19, {"'epc'", "found \"siez=32\"", "expected 'size'"}},
      {"epc = ['size=64,\\x01=2']", 3, 8, {"found \"size=64,?=2\"", "\"size=MIB\" or"}},
      {"epc = ['package=1']", 3, 8, {"found \"package=1\"", "\"size=MIB\" or"}},
      {"epc = ['size']", 3, 8, {"\"size=MIB\" or"}},
      {"epc = ['size=64,']", 3, 8, {"\"size=MIB\" or"}},
      {"epc = [64]", 3, 8, {"found 64", "\"size=MIB\" or"}},
      {"epc = ['size=0']", 3, 8, {"'epc: size'", "found \"0\"", "from 1 to 1048576 (in MiB"}},
      {"epc = ['size=1,size=1']", 3, 8, {"'size' once"}},
      {"epc = ['size=1,package=256']", 3, 8, {"'epc: package'", "from 0 to 255"}},
      {"epc = ['size=1048576', 'size=1']", 3, 24, {"1048577 MiB in all sections", "1048576 at most"}},
      {"epc = ['size=1','size=1','size=1','size=1','size=1','size=1','size=1','size=1',\n'size=1']",
       4,
       1,
       {"8 sections"}},
      {"epc = 64\nepc_min = 65", 4, 11, {"'epc_min'", "found 65", "at most 'epc', which is 64"}},
      {"epc = 64\nepc_min = 0", 4, 11, {"'epc_min'", "found 0", "from 1"}},
      {"epc = 64\nvcpus = 9\nepc_min = 1", 5, 11, {"'epc_min'", "found 1 MiB", "at least 2"}},
      {"epc = 1048576\nepc_min = 2048", 4, 11, {"'epc_min'", "found 2048 MiB", "at least 2049"}},
      {"epc = ['size=1', 'size=1', 'size=1']\nepc_min = 2", 4, 11, {"'epc_min'", "found 2 MiB", "at least 3"}},
      {"epc = 64\nepc_paging = 'trapping'", 4, 14, {"'epc_paging'", "found \"trapping\"", "\"trap\"", "\"oss\""}},
      {"engine = 'checked'", 3, 10, {"'engine'", "found \"checked\"", "\"auto\", \"interpreter\" or \"compiler\""}},
      {"sgx_platform = 'none'",
       3,
       16,
       {"'sgx_platform'", "found \"none\"", "\"private\", \"machine\" or \"group:NAME\""}},
      {"sgx_platform = 'group:'", 3, 16, {"'sgx_platform'", "\"group:NAME\""}},
      {"sgx_platform = 'group:../x'", 3, 16, {"'sgx_platform'", "\"group:NAME\""}},
      {"sgx_platform = 1", 3, 16, {"'sgx_platform'"}},
      {"vcpus = 17", 3, 9, {"found 17", "a number from 1 to 16"}},
      {"vcpus = 0", 3, 9, {"found 0"}},
      {"type = 'hvm'", 3, 8, {"found \"hvm\"", "expected \"pvh\""}},
      {"name = 'a/b'", 3, 8, {"'name'", "letters"}},
      {"name = ''", 3, 8, {"'name'"}},
      {"name = '12'", 3, 8, {"found \"12\"", "not digits alone"}},
      {"name = 'c7a5fdbd-edaf-9455-926a-d65c16db1809'", 3, 8, {"'name'", "no UUID"}},
      {"uuid = 'c7a5fdbd'", 3, 8, {"'uuid'", "found \"c7a5fdbd\"", "expected a UUID, such as"}},
      {"uuid = '00000000-0000-0000-0000-000000000000'", 3, 8, {"'uuid'", "nil"}},
      {"uuid = 7", 3, 8, {"'uuid'", "found 7", "expected a UUID, such as"}},
      {"kernel = ''", 3, 10, {"'kernel'", "path"}},
      {"ramdisk = ['x']", 3, 11, {"found a list", "a string in quotes"}},
      {"cmdline = 'a\\x00b'", 3, 11, {"NUL"}},
      {"on_crash = 'coredump-destroy'", 3, 12, {"\"destroy\", \"restart\" or \"preserve\""}},
      {"on_reboot = 1", 3, 13, {"\"destroy\", \"restart\" or \"preserve\""}},
      {"shutdown_timeout = 86401", 3, 20, {"from 0 to 86400 (in seconds"}},
      {"on_host_shutdown = 'suspend'", 3, 20, {"found \"suspend\"", "\"shutdown\", \"destroy\" or \"save\""}},
      {"on_host_shutdown = ['save']", 3, 20, {"found a list", "\"shutdown\", \"destroy\" or \"save\""}},
      {"restart_limit = 1001", 3, 17, {"0 to 1000"}},
      {"restart_window = 0", 3, 18, {"1 to 86400"}},
      {"lewr = 2", 3, 8, {"0 or 1"}},
      {"localtime = 'yes'", 3, 13, {"'localtime'", "0 or 1"}},
      {"rtc_timeoffset = '-1000000001'",
       3,
       18,
       {"found \"-1000000001\"", "from -1000000000 to 1000000000 (in seconds"}},
      {"rtc_timeoffset = 18446744073709551615", 3, 18, {"from -1000000000"}},
      {"rtc_timeoffset = '--1'", 3, 18, {"found \"--1\""}},
      {"rtc_timeoffset = '-'", 3, 18, {"found \"-\""}},
      {"memory = '-512'", 3, 10, {"found \"-512\""}},
      {"lehash = '12'", 3, 10, {"64 hexadecimal digits"}},
      {"lehash = 'zzb77012053e05a63d413b8bbae8fb6c5d73b3f29961d9c4acb77012053e05a6'", 3, 10, {"64 hexadecimal"}},
      {"cpuid = ['1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']", 3, 10, {"32 letters", "bit 31 first"}},
      {"cpuid = ['1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx2']", 3, 10, {"32 letters", "0, 1, x, k, s"}},
      {"cpuid = ['1:eax=0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']", 3, 10, {"bit 31 of eax in leaf 0x1", "no single feature"}},
      {"cpuid = ['1:efx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']", 3, 10, {"'efx'", "eax, ebx, ecx or edx"}},
      {"cpuid = ['one:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']", 3, 10, {"'one:ecx", "LEAF:REGISTER=BITS"}},
      {"cpuid = ['1']", 3, 10, {"'1'", "LEAF:REGISTER=BITS"}},
      {"cpuid = 'sgx=0'", 3, 9, {"'host' first"}},
      {"cpuid = ''", 3, 9, {"'host' first"}},
      {"cpuid = 'host,sgx'", 3, 9, {"'sgx'", "FEATURE=VALUE"}},
      {"cpuid = 'host,sgx=2'", 3, 9, {"'2'", "0, 1, x, k, s"}},
      {"cpuid = 'host,,sgx=1'", 3, 9, {"FEATURE=VALUE"}},
      {"cpuid = 'host,family=6'", 3, 9, {"'family'", "number"}},
      {"silicon = 'Skylake-Client-IBR'", 3, 11, {"did you mean 'Skylake-Client-IBRS'?", "libvirt model"}},
      {"silicon = 'EPYC'", 3, 11, {"a libvirt model of Intel's"}},
      {"cpu_flags = 'sgx'", 3, 13, {"beside silicon 'default'", "a libvirt model as 'silicon'", "'cpuid'"}},
      {"cpu_flags = 'sgx,sgxcl'", 3, 13, {"'cpu_flags'", "unknown CPU feature 'sgxcl'", "did you mean 'sgxlc'"}},
      {"cpu_flags = '-'", 3, 13, {"unknown CPU feature ''"}},
      {"cpu_flags = ['sgx', ['sgx1']]", 3, 21, {"found a list", "names of CPU features"}},
      {"disk = 'a,raw,xvda,rw'", 3, 8, {"found \"a,raw,xvda,rw\"", "a list of strings"}},
      {"disk = [1]", 3, 9, {"found 1", "TARGET,raw,VDEV,ACCESS"}},
      {"disk = ['a,raw,xvda', '']", 3, 23, {"found \"\"", "a target"}},
      {"disk = ['raw,xvda,rw']", 3, 9, {"format: found 'xvda'", "\"raw\", \"qcow2\""}},
      {"disk = ['a,,xvda,rw']", 3, 9, {"a format, which is never guessed"}},
      {"disk = ['vdev=xvda,target=a']", 3, 9, {"a format, which is never guessed"}},
      {"disk = ['nbd:unix:a,raw,xvda']", 3, 9, {"target: found 'nbd:unix:a'", "an absolute path"}},
      {"disk = ['nbd:unix:/a,qcow2,xvda']", 3, 9, {"format: found 'qcow2'", "knows its format"}},
      {"disk = ['storage:vm,raw,xvda']", 3, 9, {"target: found 'storage:vm'", "\"storage:NAME/PATH\""}},
      {"disk = ['storage:/a,raw,xvda']", 3, 9, {"\"storage:NAME/PATH\""}},
      {"disk = ['storage:vm/,raw,xvda']", 3, 9, {"\"storage:NAME/PATH\""}},
      {"disk = ['storage:vm//etc/passwd,raw,xvda']", 3, 9, {"\"storage:NAME/PATH\""}},
      {"disk = ['storage:vm/a/../../b,raw,xvda']", 3, 9, {"without \".\" and \"..\""}},
      {"disk = ['storage:vm/./b,raw,xvda']", 3, 9, {"\"storage:NAME/PATH\""}},
      {"disk = ['storage:vm/b/,raw,xvda']", 3, 9, {"\"storage:NAME/PATH\""}},
      {"disk = ['a,qcow,xvda,rw']", 3, 9, {"format: found 'qcow'", "\"vhdx\" or \"vdi\""}},
      {"disk = ['a,RAW,xvda,rw']", 3, 9, {"found 'RAW'"}},
      {"disk = ['a,raw']", 3, 9, {"a vdev: xvda to xvdp"}},
      {"disk = ['a,raw,xvdq']", 3, 9, {"vdev: found 'xvdq'", "xvda to xvdp"}},
      {"disk = ['a,raw,xvda1']", 3, 9, {"vdev: found 'xvda1'"}},
      {"disk = ['a,raw,xvd']", 3, 9, {"vdev: found 'xvd'"}},
      {"disk = ['a,raw,d0p1']", 3, 9, {"vdev: found 'd0p1'"}},
      {"disk = ['a,raw,xvda,rx']", 3, 9, {"access: found 'rx'", "\"rw\" or \"ro\""}},
      {"disk = ['a,raw,xvda,rw,b']", 3, 9, {"four fields by their place at most"}},
      {"disk = ['a,raw,xvda,format=raw']", 3, 9, {"'format' once"}},
      {"disk = ['a,raw,xvda,target=b']", 3, 9, {"'target' once"}},
      {"disk = ['a,raw,xvda,acess=ro']", 3, 9, {"unknown field 'acess', did you mean 'access'?", "'target='"}},
      {"disk = ['a,raw,xvda,backing=raw:b']", 3, 9, {"found 'b' beneath what is raw", "a qcow2 image"}},
      {"disk = ['a,qcow2,xvda,backing=raw:b,backing=raw:c']", 3, 9, {"found 'c' beneath what is raw"}},
      {"disk = ['a,vmdk,xvda,backing=raw:b']", 3, 9, {"found 'b' beneath what is vmdk"}},
      {"disk = ['a,qcow2,xvda,backing=b']", 3, 9, {"backing: found 'b', expected \"raw:PATH\" or \"qcow2:PATH\""}},
      {"disk = ['a,qcow2,xvda,backing=vmdk:b']", 3, 9, {"backing: found 'vmdk:b'"}},
      {"disk = ['a,qcow2,xvda,backing=raw:']", 3, 9, {"backing: found 'raw:'"}},
      {"disk = ['a=b.img,raw,xvda']", 3, 9, {"unknown field 'a'", "the rest behind 'target='"}},
      {"disk = ['a,raw,xvda,cdrom']", 3, 9, {"'cdrom' is not supported"}},
      {"disk = ['a,raw,xvda,backend=d']", 3, 9, {"'backend' is not supported"}},
      {"disk = ['phy:/dev/sda,raw,xvda,w']", 3, 9, {"target: found 'phy:/dev/sda'", "a path without 'phy:'"}},
      {"disk = ['a\\x00b,raw,xvda']", 3, 9, {"target: found", "expected a path"}},
      {"vsock = 2", 3, 9, {"found 2", "a number from 3 to 4294967294"}},
      {"vsock = 4294967295", 3, 9, {"found 4294967295", "a number from 3 to 4294967294"}},
      {"vsock = 99999999999999999999", 3, 9, {"a number from 3"}},
      {"vsock = ['auto']", 3, 9, {"found a list", "\"auto\""}},
      {"vsock = 'yes'", 3, 9, {"found \"yes\"", "\"cid=auto,path=/PATH\""}},
      {"vsock = 'cid='", 3, 9, {"a number from 3"}},
      {"vsock = 'cid=3,'", 3, 9, {"path=/PATH"}},
      {"vsock = 'cid=3,cid=4'", 3, 9, {"path=/PATH"}},
      {"vsock = 'path=relative'", 3, 9, {"an absolute path"}},
      {"vsock = 'path=/folder/'", 3, 9, {"an absolute path"}},
      {"vsock = 'path=/folder/..'", 3, 9, {"an absolute path"}},
      {"vsock = 'path=/a\\x00b'", 3, 9, {"an absolute path"}},
      {"vsock = 'path=/01234567890123456789012345678901234567890123456789012345678901234'", 3, 9, {"at most 64 bytes"}},
      {"vif = 'type=user'", 3, 7, {"found \"type=user\"", "a list of strings"}},
      {"vif = [1]", 3, 8, {"found 1", "type=user"}},
      {"vif = ['']", 3, 8, {"a type"}},
      {"vif = ['mac=52:54:00:00:00:01']", 3, 8, {"a type"}},
      {"vif = ['type=user,bridge=br0']", 3, 8, {"type=user or a bridge, and not both"}},
      {"vif = ['bridge=br0,bridge=br1']", 3, 8, {"'bridge' once"}},
      {"vif = ['bridge=']", 3, 8, {"bridge: found ''", "the name of an interface"}},
      {"vif = ['bridge=0123456789abcdef']", 3, 8, {"1 to 15 letters"}},
      {"vif = ['bridge=..']", 3, 8, {"the name of an interface"}},
      {"vif = ['bridge=br0,vifname=v%d']", 3, 8, {"vifname: found 'v%d'", "the name of an interface"}},
      {"vif = ['bridge=br0,hostfwd=tcp::1-:1']", 3, 8, {"neither 'hostfwd' nor 'host' beside a bridge"}},
      {"vif = ['bridge=br0,host=deny']", 3, 8, {"neither 'hostfwd' nor 'host' beside a bridge"}},
      {"vif = ['type=user,vifname=a']", 3, 8, {"a bridge beside 'vifname'"}},
      {"vif = ['type=user,queues=1']", 3, 8, {"a bridge beside 'queues'"}},
      {"vif = ['bridge=a,queues=9']", 3, 8, {"queues: found '9'", "1 to 8"}},
      {"vif = ['bridge=a,queues=0']", 3, 8, {"queues: found '0'", "1 to 8"}},
      {"vif = ['bridge=a,queues=2x']", 3, 8, {"queues: found '2x'", "1 to 8"}},
      {"vif = ['bridge=a,queues=2,queues=2']", 3, 8, {"'queues' once"}},
      {"vif = ['bridge=a,vifname=v', 'bridge=b,vifname=v']", 3, 30, {"found vifname v twice"}},
      {"vif = ['bridge=br0,script=vif-bridge']", 3, 8, {"'script' is not supported"}},
      {"vif = ['type=ioemu']", 3, 8, {"type: found 'ioemu'", "\"user\", the only one"}},
      {"vif = ['type=user,type=user']", 3, 8, {"'type' once"}},
      {"vif = ['type=user,model=e1000']", 3, 8, {"'model' is not supported"}},
      {"vif = ['type=user,hostfw=x']", 3, 8, {"unknown key 'hostfw', did you mean 'hostfwd'?"}},
      {"vif = ['type=user,what']", 3, 8, {"found 'what', expected KEY=VALUE"}},
      {"vif = ['type=user,mac=52:54:00:00:00']", 3, 8, {"mac: found '52:54:00:00:00'", "six bytes"}},
      {"vif = ['type=user,mac=52:54:00:00:00:0g']", 3, 8, {"six bytes"}},
      {"vif = ['type=user,mac=52-54-00-00-00-01']", 3, 8, {"six bytes"}},
      {"vif = ['type=user,mac=53:54:00:00:00:01']", 3, 8, {"whose first byte is even"}},
      {"vif = ['type=user,mac=00:00:00:00:00:00']", 3, 8, {"other than zeros"}},
      {"vif = ['type=user,mac=52:54:00:00:00:01,mac=52:54:00:00:00:01']", 3, 8, {"'mac' once"}},
      {"vif = ['type=user,mac=52:54:00:00:00:01', 'type=user,mac=52:54:00:00:00:01']",
       3,
       43,
       {"found mac 52:54:00:00:00:01 twice"}},
      {"vif = ['type=user,host=maybe']", 3, 8, {"host: found 'maybe'", "\"allow\" or \"deny\""}},
      {"vif = ['type=user,hostfwd=tcp:2222-:22']", 3, 8, {"hostfwd: found", "tcp:[ADDRESS]:PORT-:PORT"}},
      {"vif = ['type=user,hostfwd=sctp::1-:1']", 3, 8, {"hostfwd: found"}},
      {"vif = ['type=user,hostfwd=tcp:localhost:1-:1']", 3, 8, {"hostfwd: found"}},
      {"vif = ['type=user,hostfwd=tcp:[127.0.0.1]:1-:1']", 3, 8, {"hostfwd: found"}},
      {"vif = ['type=user,hostfwd=tcp::0-:1']", 3, 8, {"hostfwd: found"}},
      {"vif = [\"type=user,hostfwd=tcp:0.0.0.0\\000.1:2222-:22\"]", 3, 8, {"hostfwd: found"}},
      {"vif = ['type=user,hostfwd=tcp::1-:65536']", 3, 8, {"hostfwd: found"}},
      {"vif = ['type=user,hostfwd=tcp::1-10.0.0.2:1']", 3, 8, {"the guest's port behind '-:'"}},
      {"vif = ['type=user,hostfwd=tcp::1-:1,hostfwd=tcp::1-:2']", 3, 8, {"found hostfwd tcp::1-:2 twice"}},
      {"vif = ['type=user,hostfwd=tcp::1-:1', 'type=user,hostfwd=tcp::1-:2']", 3, 39, {"twice"}},
      {"disk = ['a,raw,xvda', 'b,raw,sda']", 3, 23, {"vdev: found 'sda', but there is 'xvda' at 3:9"}},
      {"cpu_flags = 1", 3, 13, {"found 1", "names of CPU features"}},
      {"cpuid = 'host,sgxcl=0'", 3, 9, {"unknown CPU feature 'sgxcl'", "did you mean 'sgxlc'"}},
  };
  for (const Bad& bad : cases) {
    const auto read = read_config(least_config + bad.text);
    ASSERT_FALSE(read.has_value()) << bad.text;
    EXPECT_EQ(read.error().at, (Position{bad.line, bad.column})) << bad.text << ": " << read.error().message;
    for (const char* part : bad.says) EXPECT_THAT(read.error().message, HasSubstr(part)) << bad.text;
  }
}

TEST(Config, ANameHas128CharactersAtMost) {
  const auto with_name = [](const std::string& name) { return read_config("name = '" + name + "'\nkernel = 'k'\n"); };
  EXPECT_TRUE(with_name(std::string(128, 'b')));
  const auto longer = with_name(std::string(129, 'b'));
  ASSERT_FALSE(longer);
  EXPECT_THAT(longer.error().message, HasSubstr("128 at most"));
}

TEST(Config, RequiredKeysThatAreMissingAreNamed) {
  EXPECT_EQ(read_config("name = 'd'").error(), (Diagnostic{{}, "the key 'kernel' is missing"}));
  EXPECT_EQ(read_config("kernel = 'k'").error(), (Diagnostic{{}, "the key 'name' is missing"}));
}

/// Diagnostics go into logs, records and answers: what they quote is cut, wherever it stood.
TEST(Config, NoDiagnosticIsAsLongAsWhatItQuotes) {
  const std::string good = "name = 'd'\nkernel = 'k'\n", word(100'000, 'a'), digits(100'000, '1');
  std::vector<std::string> texts{word,
                                 word + "=" + word,
                                 digits,
                                 digits + word,
                                 word + " = 1 1",
                                 word + "+ = 1",
                                 "a = " + digits + "z",
                                 word + "=1;" + word + "=2",
                                 word + "=1;" + word + "+=2"};
  for (const Key& key : keys()) {
    const std::string is = std::string(key.name) + " = ";
    for (const std::string& value : {"'" + word + "'", digits, "[" + digits + "]", "['" + word + "']",
                                     "['" + word + "=1']", "['size=" + word + "']", "'host," + word + "'",
                                     "'host," + word + "=1'", "'host,sgx=" + word + "'", "['1:eax=" + word + "']"})
      texts.push_back(is + value);
  }
  for (const std::string& text : texts) {
    const auto read = read_config(good + text + "\n");
    std::vector<Diagnostic> said = read ? read->warnings : std::vector{read.error()};
    for (const Diagnostic& diagnostic : said) EXPECT_LT(diagnostic.message.size(), 1000u) << text.substr(0, 40);
  }
}

TEST(Config, DiagnosticsHaveTheFormThatEditorsRead) {
  EXPECT_EQ(format("a.cfg", {{3, 7}, "what"}), "a.cfg:3:7: what");
  EXPECT_EQ(format("a.cfg", {{}, "what"}), "a.cfg: what");
}

}  // namespace
}  // namespace cloister::toolstack
