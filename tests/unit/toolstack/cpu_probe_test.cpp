// `cloister cpu probe` as its readers meet it: a person, a program, and a script that looks at the status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/exit_status.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/probe.hpp"
#include "interop/hosts/hosts.hpp"
#include "run/run.hpp"
#include "unit/policy/dumps.hpp"
#include "unit/policy/known_dumps.hpp"
#include "unit/policy/sgx_machines.hpp"
#include "unit/toolstack/host_files.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack::cpu {
namespace {

using policy::HostEnvironment;
using policy::HostView;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Device = HostEnvironment::Device;

HostView host_of(std::string_view text) {
  auto host = read_host(text, "rack1");
  EXPECT_TRUE(host.has_value()) << (host ? "" : host.error().message);
  return host ? std::move(*host) : HostView{};
}

std::string text_of(const HostView& host) { return probe_text(host, policy::sgx_report(host)); }
nlohmann::ordered_json json_of(const HostView& host) { return probe_json(host, policy::sgx_report(host)); }

/// Two sections on two nodes, locked, and no permission on the device.
HostView server() {
  HostView host = host_of(tests::two_xeon_gold_6354);
  host.environment = HostEnvironment{.enclave = Device::absent,
                                     .vepc = Device::refused,
                                     .provision = Device::usable,
                                     .kvm = Device::usable,
                                     .feature_control = 0x40005,
                                     .lepubkeyhash = arch::msr::intel_lepubkeyhash,
                                     .node_bytes = {{0, 0x7ec0'0000}, {1, 0x7f40'0000}}};
  return host;
}

TEST(CpuProbe, ThePersonReadsTheVerdictThenWhatThereIsThenWhatToDo) {
  EXPECT_EQ(text_of(server()),
            R"(host                rack1
SGX for guests      not usable
read from           a CPUID dump
SGX                 enabled
launch control      unwritable: the launch hash is Intel's, and locked
feature control     0x40005: locked, launch hash not writable, SGX on
launch hash         acb77012053e05a63d413b8bbae8fb6c5d73b3f2996d91c43bbbf90959c0f8d4
processor has       sgx sgxlc sgx-keys
instructions        sgx1 sgx2 sgx-eupdatesvn
exceptions          sgx-exinfo
lacks               sgx-enclv sgx-oss sgx-everifyreport2 sgx-edeccssa
unknown             sgx-debug sgx-mode64 sgx-provisionkey sgx-tokenkey sgx-cet sgx-kss
                    sgx-aex-notify
largest enclave     2^56 bytes in 64-bit mode, 2^31 bytes in 32-bit mode
/dev/sgx_enclave    absent
/dev/sgx_vepc       no permission
/dev/sgx_provision  usable
/dev/kvm            usable

EPC           BASE           LAST        SIZE   MiB  NODE  PROPERTY
  0   0x8000c00000   0x807f7fffff  0x7ec00000  2028     0  2: confidentiality
  1  0x10000c00000  0x1007fffffff  0x7f400000  2036     1  2: confidentiality
all                                0xfe000000  4064

vepc-refused: no permission to read and write /dev/sgx_vepc
    udev gives the device to the group 'sgx': let who runs QEMU join it, or give the device to the
    group 'kvm' by a rule such as KERNEL=="sgx_vepc", GROUP="kvm", MODE="0660". With libvirt before
    8.10 also list it in cgroup_device_acl of /etc/libvirt/qemu.conf.

launch-locked: the launch hash is Intel's, and locked (IA32_FEATURE_CONTROL bit 17 is 0)
    For other launch keys, and for Linux's driver, set launch control to Unlocked in firmware. Until
    then do not ask for 'sgxlc' or a launch hash.
)");
}

TEST(CpuProbe, ADumpIsUsableAsFarAsItTells) {
  const std::string text = text_of(host_of(tests::aida_dump));
  EXPECT_THAT(text, HasSubstr("SGX for guests   usable, as far as a CPUID dump tells\n"));
  EXPECT_THAT(text, HasSubstr("read from        a CPUID dump, 2 processors\n"));
  EXPECT_THAT(text, HasSubstr("XFRM             0x2e7: x87 sse avx avx512 pku\n"));
  EXPECT_THAT(text, HasSubstr("launch control   unknown: SGX_LC is there;"));
  EXPECT_THAT(text, HasSubstr("attributes       sgx-debug sgx-mode64 sgx-provisionkey sgx-tokenkey sgx-kss\n"));
  EXPECT_THAT(text, Not(HasSubstr("/dev/"))) << "a dump says nothing of devices";
}

TEST(CpuProbe, APropertyThatTheManualReservesIsANumber) {
  const std::string text = text_of(host_of(tests::sapphire_rapids_section));
  EXPECT_THAT(text, HasSubstr("  0  0x2000c00000  0x207edfefff  0x7e1ff000  2017.996094     -  3\n"));
}

TEST(CpuProbe, UnknownIsNotAbsent) {
  const std::string text = text_of(host_of(tests::instlat_dump));
  EXPECT_THAT(text, HasSubstr("SGX for guests   unknown\n"));
  EXPECT_THAT(text, HasSubstr("EPC: unknown\n"));
  EXPECT_THAT(text, HasSubstr("cut-short: "));
}

TEST(CpuProbe, JsonHasEverythingWithStableKeys) {
  EXPECT_EQ(json_of(server()).dump(), R"({"host":"rack1","source":"a CPUID dump","processors":1,"processor":"",)"
                                      R"("model":null,"sgx_for_guests":"not usable","sgx":"enabled",)"
                                      R"("launch_control":"unwritable",)"
                                      R"("has":["sgx","sgxlc","sgx-keys","sgx1","sgx2","sgx-eupdatesvn","sgx-exinfo"],)"
                                      R"("lacks":["sgx-enclv","sgx-oss","sgx-everifyreport2","sgx-edeccssa"],)"
                                      R"("unknown":["sgx-debug","sgx-mode64","sgx-provisionkey","sgx-tokenkey",)"
                                      R"("sgx-cet","sgx-kss","sgx-aex-notify"],)"
                                      R"("xfrm":null,"log2_largest_enclave_64":56,"log2_largest_enclave_32":31,)"
                                      R"("epc":[{"base":"0x8000c00000","bytes":2126512128,"property":2,"node":0},)"
                                      R"({"base":"0x10000c00000","bytes":2134900736,"property":2,"node":1}],)"
                                      R"("environment":{"devices":{"/dev/sgx_enclave":"absent",)"
                                      R"("/dev/sgx_vepc":"no permission","/dev/sgx_provision":"usable",)"
                                      R"("/dev/kvm":"usable"},"feature_control":"0x40005","launch_hash":)"
                                      R"("acb77012053e05a63d413b8bbae8fb6c5d73b3f2996d91c43bbbf90959c0f8d4",)"
                                      R"("nodes":[{"node":0,"sgx_total_bytes":2126512128},)"
                                      R"({"node":1,"sgx_total_bytes":2134900736}]},)"
                                      R"("findings":)" +
                                          json_of(server())["findings"].dump() + "}");
  const auto findings = json_of(server())["findings"];
  EXPECT_EQ(findings[0]["rule"], "vepc-refused");
  EXPECT_EQ(findings[0]["blocks"], true);
  const auto unknown = json_of(host_of(tests::instlat_dump));
  EXPECT_TRUE(unknown["epc"].is_null());
  EXPECT_TRUE(unknown["environment"].is_null());
  EXPECT_EQ(unknown["sgx_for_guests"], "unknown");
  EXPECT_TRUE(json_of(host_of(tests::macbook))["epc"].empty());
}

class CpuProbeStatus : public testing::Test {
 protected:
  ~CpuProbeStatus() override { std::filesystem::remove(path_); }
  int probe_file(const std::string& text, bool json = false) {
    std::ofstream(path_) << text;
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = probe(path_, json);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return status;
  }
  std::string path_ = testing::TempDir() + "cloister-probe-" + std::to_string(::getpid()), out_, err_;
};

TEST_F(CpuProbeStatus, TellsUsableFromNotAndFromUnknown) {
  EXPECT_EQ(probe_file(tests::xeon_gold_5315y), status::good);
  EXPECT_EQ(probe_file(tests::domain_capabilities), status::good);
  EXPECT_EQ(probe_file(tests::qmp_session), status::good);
  EXPECT_EQ(probe_file(tests::ice_lake_server_off), status::failed);
  EXPECT_EQ(probe_file(tests::cpudata), status::failed);
  EXPECT_EQ(probe_file(tests::instlat_dump), status::unknown);
  EXPECT_EQ(probe_file("{\"model\": {\"props\": {\"sgx\": true}}}", true), status::unknown);
  EXPECT_EQ(nlohmann::json::parse(out_)["sgx_for_guests"], "unknown");
  EXPECT_EQ(err_, "");
}

TEST_F(CpuProbeStatus, WhatCannotBeReadIsOneLineWithItsPlace) {
  EXPECT_EQ(probe_file("<cpudata arch='x86'>\n<cpuid eax_in='z'/></cpudata>"), exit_status::bad_configuration);
  EXPECT_EQ(err_, path_ + ":2:1: found eax_in='z', expected a number of 32 bits\n");
  EXPECT_THAT(out_, IsEmpty());
  std::filesystem::remove(path_);
  testing::internal::CaptureStderr();
  EXPECT_EQ(probe(path_, false), exit_status::bad_configuration);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), StartsWith(path_ + ": cannot read: "));
}

TEST(CpuProbe, PublishedFilesGiveWhatTheirOwnersSay) {
  const struct {
    const char *file, *sgx, *launch;
    int status;
    std::vector<std::string> sections;
  } rows[] = {
      {"GenuineIntel00706E5_IceLakeY_CPUID.txt", "enabled", "unknown", status::good, {"0x30180000"}},
      {"GenuineIntel00806E9_Kabylake_CPUID2.txt", "enabled", "none", status::good, {"0x70200000"}},
      {"GenuineIntel00906EC_CoffeeLake_CPUID4.txt", "enabled", "unknown", status::unknown, {}},
      {"GenuineIntel00606A6_ICX_CPUID2.txt", "disabled", "unknown", status::failed, {}},
      {"GenuineIntel00506E3_Skylake_CPUID.txt", "disabled", "none", status::failed, {}},
      {"GenuineIntel00806F8_SapphireRapids_05_CPUID.txt", "absent", "none", status::failed, {}},
      {"xps13-9370-cpuid-raw.txt", "enabled", "none", status::good, {"0x40200000"}},
  };
  for (const auto& row : rows) {
    const auto text = tests::known_dump(row.file);
    if (!text) GTEST_SKIP() << "no published dumps here";
    const HostView host = host_of(*text);
    const auto json = json_of(host);
    EXPECT_EQ(json["sgx"], row.sgx) << row.file;
    EXPECT_EQ(json["launch_control"], row.launch) << row.file;
    EXPECT_EQ(probe_status(policy::sgx_report(host)), row.status) << row.file;
    std::vector<std::string> bases;
    for (const auto& section : json["epc"]) bases.push_back(section["base"]);
    EXPECT_EQ(bases, row.sections) << row.file;
  }
}

TEST(CpuProbe, ThisHostNamesWhatGivesGuestsSgx) {
  const tests::Ran ran = tests::run_cloister({"cpu", "probe", "--json"});
  const auto json = nlohmann::json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ran.out << ran.err;
  utsname kernel{};
  ASSERT_EQ(::uname(&kernel), 0);
  const std::string version = json["versions"]["kernel"]["version"];
  EXPECT_EQ(std::string(kernel.release).rfind(version, 0), 0u) << version;
  EXPECT_FALSE(version.empty());
  for (const char* name : {"QEMU", "libvirt"}) EXPECT_FALSE(json["versions"][name]["needed"].is_null()) << name;
}

}  // namespace
}  // namespace cloister::toolstack::cpu
