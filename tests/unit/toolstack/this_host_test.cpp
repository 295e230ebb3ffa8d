// This host, made up: CPUID from a table, and devices, MSRs and NUMA nodes as files below a folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "interop/hosts/hosts.hpp"
#include "policy/leaves.hpp"
#include "unit/policy/sgx_machines.hpp"

namespace cloister::toolstack {
namespace {

namespace fs = std::filesystem;
using policy::HostEnvironment;
using policy::HostView;
using Device = HostEnvironment::Device;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::Pair;

class ThisHost : public testing::Test {
 protected:
  ThisHost() {
    std::string pattern = (fs::temp_directory_path() / "cloister-host-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) root_ = pattern;
  }
  ~ThisHost() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path, std::ios::binary) << text;
  }

  /// A host whose processors answer as these texts of `cpuid -r`.
  HostView view(const std::vector<std::string>& cpus) const {
    std::vector<policy::CpuidTable> tables;
    HostFacts facts;
    for (u32 n = 0; n < cpus.size(); ++n) {
      tables.push_back(policy::read_cpuid_dump(cpus[n])->cpus[0].table);
      facts.cpus.push_back({.number = n, .package = n, .node = n});
    }
    facts.cpuid = [tables](u32 cpu, u32 leaf, u32 subleaf) { return tables.at(cpu).get(leaf, subleaf); };
    return host_view(facts, root_);
  }

  std::string root_;
};

TEST_F(ThisHost, AsksEveryProcessor) {
  const HostView host = view({tests::xeon_e_2276g, tests::xeon_e_2276g});
  EXPECT_EQ(host.name, "this host");
  EXPECT_EQ(host.source, "CPUID");
  ASSERT_EQ(host.cpus.size(), 2u);
  EXPECT_EQ(host.cpus[1].number, 1u);
  EXPECT_THAT(policy::sgx_disagreements({host.cpus}), IsEmpty());
  EXPECT_EQ(policy::epc_of(host)->size(), 1u);
  EXPECT_THAT(policy::sgx_disagreements({view({tests::xeon_e_2276g, tests::macbook, tests::xeon_e_2276g}).cpus}),
              ElementsAre())
      << "one that does not answer is not asked";
  EXPECT_THAT(policy::sgx_disagreements({view({tests::xeon_e_2276g, tests::kaby_lake}).cpus}), ElementsAre(1u));
  EXPECT_THAT(policy::sgx_disagreements({view({tests::skylake_off, tests::skylake_off}).cpus}), IsEmpty());
}

TEST_F(ThisHost, AListWithoutSectionsIsEmptyAndNotUnknown) {
  std::string leaves = tests::xeon_e_2276g;
  leaves.replace(leaves.find("eax=0x70200001"), 14, "eax=0x00000000");
  EXPECT_THAT(policy::epc_of(view({leaves})), Optional(IsEmpty()));
}

TEST_F(ThisHost, DevicesAreAbsentRefusedOrUsable) {
  fs::create_directories(root_ + "/dev");
  // A link to itself cannot be opened by anybody, root included.
  fs::create_symlink(root_ + "/dev/sgx_vepc", root_ + "/dev/sgx_vepc");
  write("/dev/kvm", "");
  const HostView host = view({tests::xeon_e_2276g});
  EXPECT_EQ(host.environment->enclave, Device::absent);
  EXPECT_EQ(host.environment->vepc, Device::refused);
  EXPECT_EQ(host.environment->provision, Device::absent);
  EXPECT_EQ(host.environment->kvm, Device::usable);
  EXPECT_EQ(host.environment->feature_control, std::nullopt);
}

TEST_F(ThisHost, ADeviceWithoutPermissionIsRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may open everything";
  write("/dev/sgx_vepc", "");
  fs::permissions(root_ + "/dev/sgx_vepc", fs::perms::none);
  EXPECT_EQ(view({tests::xeon_e_2276g}).environment->vepc, Device::refused);
}

TEST_F(ThisHost, MsrsAreReadAtTheirIndex) {
  // A file's registers overlap, as a device's do not: eight equal bytes for each of the four parts of the hash.
  std::string registers(0x100, '\0');
  registers[0x3a] = 5;
  registers[0x3c] = 6;
  registers.replace(0x8c, 11, std::string(11, '\x11'));
  write("/dev/cpu/0/msr", registers);
  const HostView host = view({tests::xeon_e_2276g});
  EXPECT_THAT(host.environment->feature_control, Optional(0x60005u));
  const u64 part = 0x1111'1111'1111'1111;
  EXPECT_EQ(host.environment->lepubkeyhash, (std::array<u64, 4>{part, part, part, part}));
  EXPECT_EQ(policy::launch_of(host), policy::LaunchCase::unlocked);
  write("/dev/cpu/0/msr", std::string(0x8d, '\0'));
  EXPECT_EQ(view({tests::xeon_e_2276g}).environment->lepubkeyhash, std::nullopt);
}

TEST_F(ThisHost, NodesHaveTheirBytes) {
  write("/sys/devices/system/node/node0/x86/sgx_total_bytes", "98041856\n");
  write("/sys/devices/system/node/node11/x86/sgx_total_bytes", "0\n");
  write("/sys/devices/system/node/node2/meminfo", "");
  write("/sys/devices/system/node/node/x86/sgx_total_bytes", "1\n");
  write("/sys/devices/system/node/nodes/x86/sgx_total_bytes", "1\n");
  write("/sys/devices/system/node/node3/x86/sgx_total_bytes", "much\n");
  const HostView host = view({tests::xeon_e_2276g});
  EXPECT_THAT(host.environment->node_bytes, ElementsAre(Pair(0u, 98041856u), Pair(11u, 0u)));
  EXPECT_EQ(policy::epc_of(host)->front().node, 0u);
}

TEST(ThisRealHost, IsAskedWithoutAnError) {
  const HostView host = this_host_view();
  EXPECT_FALSE(host.cpus.empty());
  EXPECT_TRUE(host.environment.has_value());
  EXPECT_NE(policy::sgx_report(host).state, policy::SgxState::unknown) << "CPUID always tells";
  EXPECT_EQ(load_host("host")->name, "this host");
}

}  // namespace
}  // namespace cloister::toolstack
