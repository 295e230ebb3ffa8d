// `cloister cpu check` and `cloister cpu baseline` as a person runs them: exit statuses, and where what is written.
// Nothing here needs libvirt's CPU map.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "unit/policy/sgx_machines.hpp"
#include "unit/toolstack/cpu_maps.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using tests::Folder;
using tests::Ran;
using tests::run_cloister;

class CpuPools : public ::testing::Test {
 protected:
  Ran check(const std::string& host, const std::string& policy, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"cpu", "check", host, policy});
    return run_cloister(more);
  }
  Ran baseline(std::vector<std::string> hosts) {
    hosts.insert(hosts.begin(), {"cpu", "baseline"});
    return run_cloister(hosts);
  }

  const Folder folder_;
  const std::string kaby_ = folder_.write("kaby.txt", tests::kaby_lake);
  const std::string xeon_ = folder_.write("xeon.txt", tests::xeon_e_2276g);
  const std::string off_ = folder_.write("off.txt", tests::ice_lake_server_off);
  const std::string short_ = folder_.write("short.txt", tests::two_xeon_gold_6354);
};

TEST_F(CpuPools, CheckEndsWithWhatItFound) {
  EXPECT_EQ(check(xeon_, "sgx,sgxlc,sgx-provisionkey").status, 0);
  const Ran missing = check(kaby_, "sgx,sgxlc");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.out, HasSubstr("kaby.txt lacks 1 of 3."));
  EXPECT_THAT(missing.err, IsEmpty());
  EXPECT_EQ(check(off_, "sgx").status, 1);
  EXPECT_EQ(check(short_, "sgx-provisionkey").status, 3);
}

TEST_F(CpuPools, CheckSaysThatSgxNeedsKvm) {
  const auto policy = [&](const std::string& text) { return folder_.write("policy", text); };
  const std::string flags = " -cpu host,+sgx,+sgx1";
  for (const std::string& without :
       {"qemu-system-x86_64" + flags, "qemu-system-x86_64 -accel tcg" + flags, "kvm -no-kvm" + flags,
        "-enable-kvm -no-kvm" + flags, std::string("[libvirt]\nvirt_type = qemu\ncpu_model_extra_flags = sgx\n"),
        std::string("<domain type='qemu'><name>d</name><memory>1048576</memory><cpu mode='host-passthrough'><feature "
                    "policy='require' name='sgx'/></cpu></domain>")}) {
    const Ran ran = check(xeon_, policy(without));
    EXPECT_EQ(ran.status, 1) << without << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("SGX is KVM's to give")) << without;
  }
  for (const std::string& with :
       {"qemu-system-x86_64 -enable-kvm" + flags, "kvm" + flags, "-no-kvm -enable-kvm" + flags, flags.substr(1)}) {
    const Ran ran = check(xeon_, policy(with));
    EXPECT_EQ(ran.status, 0) << with << ran.out << ran.err;
  }
  EXPECT_EQ(check(xeon_, policy("qemu-system-x86_64 -cpu host,+avx")).status, 0) << "nobody asks for SGX";
}

TEST_F(CpuPools, AnUnknownFlagIsNamedAndIsNotOutOfMemory) {
  const Ran ran = check(xeon_, "sgx,sgx-provisonkey");
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_THAT(ran.err, AllOf(HasSubstr("unknown CPU flag 'sgx-provisonkey', did you mean 'sgx-provisionkey'"),
                             Not(HasSubstr("memory"))));
  const std::string nova =
      folder_.write("nova.conf", "[libvirt]\ncpu_mode = host-model\ncpu_model_extra_flags = sgxx\n");
  EXPECT_THAT(check(xeon_, nova).err, HasSubstr("nova.conf:3:25: unknown CPU flag 'sgxx'"));
}

TEST_F(CpuPools, BadInputIsOneLine) {
  for (const Ran& ran : {check(folder_.path("none"), "sgx"), check(kaby_, folder_.path("none")), check(kaby_, ""),
                         check(kaby_, folder_.write("bad.json", "{")), baseline({kaby_, folder_.path("none")}),
                         baseline({folder_.write("noise", "noise")})}) {
    EXPECT_EQ(ran.status, 2);
    EXPECT_THAT(ran.out, IsEmpty());
    EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << ran.err;
  }
}

TEST_F(CpuPools, BaselineEndsWithWhetherThereIsSgx) {
  EXPECT_EQ(baseline({kaby_, xeon_}).status, 0);
  EXPECT_EQ(baseline({kaby_, off_}).status, 1);
  EXPECT_EQ(baseline({kaby_, folder_.write("leaf7.txt",
                                           "CPU 0:\n   0x00000007 0x00: eax=0x00000000 ebx=0x029c67af "
                                           "ecx=0x00000000 edx=0x00000000\n")})
                .status,
            3);
}

// What stands against SGX on a host stands against it for every verb, whatever its processor enumerates.
TEST_F(CpuPools, EveryVerbTakesAHostForUsableOrNot) {
  const std::string usable =
      "<domainCapabilities><domain>kvm</domain><features><sgx supported='yes'><flc>yes</flc><sgx1>yes</sgx1>"
      "<sections><section node='0' size='262144' unit='KiB'/></sections></sgx></features></domainCapabilities>";
  std::string interpreted = usable;
  interpreted.replace(interpreted.find("kvm"), 3, "qemu");
  const std::string sgx =
      R"({"sgx": true, "sgx1": true, "sgx2": false, "flc": true, "sections": [{"node": 0, "size": 268435456}]})";
  const std::string domain = folder_.write(
      "domain.xml",
      "<domain type='kvm'><cpu mode='host-passthrough'><feature policy='require' name='sgx'/></cpu></domain>");
  const auto lint = [&](const std::string& host) {
    return run_cloister({"cpu", "lint", domain, "--host", host}).out.find("host-without-sgx") != std::string::npos;
  };
  for (const auto& [text, good] : {std::pair(usable, true), std::pair(interpreted, false),
                                   std::pair(sgx + R"({"enabled": true, "present": true})", true),
                                   std::pair(sgx + R"({"enabled": false, "present": true})", false),
                                   std::pair(std::string(tests::xeon_e_2276g) + "\nrdmsr 0x3a\n5\n", false)}) {
    const std::string host = folder_.write("host", text);
    EXPECT_EQ(run_cloister({"cpu", "probe", host}).status, good ? 0 : 1) << text;
    EXPECT_EQ(check(host, "sgx,sgx1").status, good ? 0 : 1) << text;
    EXPECT_EQ(baseline({host}).status, good ? 0 : 1) << text;
    EXPECT_EQ(lint(host), !good) << text;
  }
  const std::string host = folder_.write("host", interpreted);
  EXPECT_THAT(check(host, "sgx").out, HasSubstr("speaks of guests without KVM"));
  EXPECT_THAT(baseline({host}).out, AllOf(HasSubstr("not usable"), HasSubstr("speaks of guests without KVM")));
}

// A dump of thousands of sections makes no line of a megabyte.
TEST_F(CpuPools, ABaselineShowsTheFirstSectionsOfMany) {
  std::string dump =
      "CPU 0:\n 0x00000007 0x00: eax=0x0 ebx=0x4 ecx=0x0 edx=0x0\n 0x00000012 0x00: eax=0x1 ebx=0x0 ecx=0x0 edx=0x0\n";
  for (int i = 2; i < 12; ++i)
    dump += fmt::format(" 0x00000012 {:#x}: eax=0x{:x}00001 ebx=0x0 ecx=0x100001 edx=0x0\n", i, i);
  const Ran ran = baseline({folder_.write("many", dump)});
  EXPECT_THAT(ran.out, HasSubstr("1 MiB (property 1) + 2 more"));
}

TEST_F(CpuPools, JudgeByTheMapThatIsNamed) {
  for (const auto& [name, text] : tests::plain_map()) folder_.write(name, text);
  const std::string map = folder_.path();
  EXPECT_EQ(check(kaby_, "old", {"--libvirt", map}).status, 0) << "its model";
  EXPECT_THAT(baseline({kaby_, xeon_, "--libvirt", map}).out, HasSubstr("<model fallback='forbid'>new</model>"));
  EXPECT_EQ(check(kaby_, "old", {"--libvirt", folder_.path("none")}).status, 2);
  const std::string nova = folder_.write("n.conf", "[libvirt]\ncpu_model_extra_flags = sgx,sgx-kss\n");
  EXPECT_THAT(run_cloister({"cpu", "lint", nova, "--libvirt", map}).out, HasSubstr(": flag-not-in-map\n"));
  const std::string domain =
      folder_.write("d.cfg", "name = 'd'\nkernel = '/k'\nmemory = 64\nepc = 2\ncpuid = 'host,sgx2=1'\n");
  const Ran ran = run_cloister({"cpu", "render", "--for", "libvirt", domain, "--libvirt", map});
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, HasSubstr("feature 'sgx2': the map of this libvirt has no such word"));
  // What came after the oldest libvirt is written for one that has it.
  const std::string late = folder_.write(
      "late.xml",
      "<domain type='kvm'><name>d</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
      "<os><type arch='x86_64'>hvm</type></os><cpu mode='host-passthrough'>"
      "<feature policy='require' name='sgx'/><feature policy='require' name='sgx-aex-notify'/></cpu></domain>");
  EXPECT_EQ(run_cloister({"cpu", "render", "--for", "libvirt", late}).status, 1) << "9.0 has no word for it";
  const std::string newer = folder_.write("newer.xml",
                                          "<cpus><arch name='x86'><feature name='sgx'><cpuid eax_in='0x07' ecx_in='0' "
                                          "ebx='0x00000004'/></feature><feature name='sgx-aex-notify'><cpuid "
                                          "eax_in='0x12' ecx_in='1' eax='0x00000400'/></feature></arch></cpus>");
  for (const char* target : {"libvirt", "nova"}) {
    const Ran written = run_cloister({"cpu", "render", "--for", target, late, "--libvirt", newer});
    EXPECT_EQ(written.status, 0) << written.err;
    EXPECT_THAT(written.out, HasSubstr("sgx-aex-notify")) << target;
  }
}

TEST_F(CpuPools, ABaselineIsAPolicyForOneMoreHost) {
  const Ran json = baseline({kaby_, xeon_, "--json"});
  ASSERT_EQ(json.status, 0);
  const std::string policy = folder_.write("pool.json", json.out);
  EXPECT_EQ(check(kaby_, policy).status, 0);
  EXPECT_EQ(check(xeon_, policy).status, 0);
  EXPECT_EQ(check(off_, policy).status, 1);
  const Ran details = check(off_, policy, {"--json"});
  EXPECT_EQ(nlohmann::json::parse(details.out)["all"], "no");
}

}  // namespace
}  // namespace cloister::toolstack
