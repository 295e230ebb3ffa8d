// The stages of a domain's policy: what each is for, and that the last is what the domain gets.
#include "plan/policies.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan.hpp"
#include "silicon/backend.hpp"
#include "silicon/silicon.hpp"

namespace cloister::toolstack {
namespace {

bool has(const Policy& policy, std::string_view name) { return policy::has(policy.cpuid, *policy::find_feature(name)); }

DomainConfig config_of(const std::string& more) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\n" + more);
  EXPECT_TRUE(read.has_value()) << more;
  return read ? read->config : DomainConfig{};
}

Grants one_mib() { return {{.package = 0, .extents = {{arch::Mfn{1 << 20}, 256}}}}; }

Policies policies_of(const MachineDescription& machine, const std::string& more, const Grants& grants) {
  const DomainConfig config = config_of(more);
  const auto chosen = choose_silicon(silicon::backend(), config, machine.silicon);
  EXPECT_TRUE(chosen.has_value()) << more;
  if (!chosen) return {};
  auto policies =
      make_policies(silicon::backend(), machine, config, grants, package_values(machine, grants, chosen->features));
  EXPECT_TRUE(policies.has_value()) << more << (policies ? "" : policies.error().message);
  return policies.value_or(Policies{});
}

TEST(Policies, TellTheConfigurationsWishesFromTheDefault) {
  const Policies p = policies_of(default_machine(), "epc = 1\nlewr = 0\ncpuid = 'host,sgx2=0,rdrand=0'", one_mib());
  for (const Policy* stage : {&p.raw, &p.host, &p.maximum, &p.standard}) {
    EXPECT_TRUE(has(*stage, "sgx2"));
    EXPECT_TRUE(has(*stage, "rdrand"));
    EXPECT_EQ(stage->msr.feature_control(), 0x60001u);
  }
  EXPECT_TRUE(has(p.domain, "sgx"));
  EXPECT_FALSE(has(p.domain, "sgx2"));
  EXPECT_FALSE(has(p.domain, "rdrand"));
  EXPECT_EQ(p.domain.msr.feature_control(), 0x40001u);
  EXPECT_FALSE(has(p.raw, "hypervisor"));
  EXPECT_TRUE(has(p.maximum, "hypervisor"));
  EXPECT_TRUE(has(p.raw, "sgx-enclv")) << "the hypervisor's";
  EXPECT_FALSE(has(p.maximum, "sgx-enclv"));
}

// KVM keeps it from guests; here a domain must ask.
TEST(Policies, EupdatesvnIsThereByNameAlone) {
  const Policies unasked = policies_of(default_machine(), "epc = 1\ncpuid = 'host,sgx2=1'", one_mib()),
                 asked = policies_of(default_machine(), "epc = 1\ncpuid = 'host,sgx-eupdatesvn=1'", one_mib());
  for (const Policies* p : {&unasked, &asked}) {
    EXPECT_TRUE(has(p->raw, "sgx-eupdatesvn") && has(p->host, "sgx-eupdatesvn") && has(p->maximum, "sgx-eupdatesvn"));
    EXPECT_FALSE(has(p->standard, "sgx-eupdatesvn"));
  }
  EXPECT_FALSE(has(unasked.domain, "sgx-eupdatesvn"));
  EXPECT_TRUE(has(asked.domain, "sgx-eupdatesvn"));
}

// SGX is hidden from a domain without EPC, though the machine could give it some.
TEST(Policies, SgxNeedsEpc) {
  const Policies p = policies_of(default_machine(), "", {});
  EXPECT_TRUE(has(p.host, "sgx") && has(p.maximum, "sgx") && has(p.maximum, "sgxlc"));
  EXPECT_FALSE(has(p.standard, "sgx") || has(p.domain, "sgx") || has(p.domain, "sgxlc"));
  EXPECT_EQ(p.domain.cpuid.get(0x12, 0), arch::CpuidRegs{});
  EXPECT_EQ(p.domain.msr.feature_control(), 0x1u);
}

TEST(Policies, OfALockedMachineHaveItsHash) {
  MachineDescription machine = default_machine();
  machine.launch_control = LaunchControl::locked;
  machine.launch_hash = {1, 2, 3, 4};
  const Policies p = policies_of(machine, "epc = 1", one_mib());
  for (const Policy* stage : {&p.raw, &p.host, &p.maximum, &p.standard, &p.domain}) {
    EXPECT_THAT(stage->msr.lepubkeyhash, testing::ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(stage->msr.feature_control(), 0x40001u);
  }
}

TEST(Policies, EndWithWhatTheProcessorAnswers) {
  const Grants grants = one_mib();
  for (const char* silicon : {"", "gemini-lake"}) {
    MachineDescription machine = default_machine();
    machine.silicon = silicon;
    for (const std::string text : {"epc = 1\ncpuid = 'host,sgxlc=0'", "epc = 1\nvcpus = 3", "epc = 1"}) {
      const Policies p = policies_of(machine, text, grants);
      silicon::Package package(package_config(package_values(machine, grants, machine_features(silicon)), grants));
      const auto plan = make_plan(
          config_of(text), [&](u32 leaf, u32 subleaf) { return package.cpuid(leaf, subleaf); }, packages_of(grants));
      ASSERT_TRUE(plan.has_value());
      EXPECT_EQ(p.domain.cpuid, plan->cpuid) << text;
      EXPECT_EQ(p.domain.msr, plan->msr) << text;
    }
  }
}

// The machine's silicon is in every stage; the domain's own is a wish like others.
TEST(Policies, SiliconIsTheMachinesUpToTheDomain) {
  MachineDescription machine = default_machine();
  machine.silicon = "gemini-lake";
  const Policies p = policies_of(machine, "epc = 1\nsilicon = 'skylake-client'", one_mib());
  for (const Policy* stage : {&p.raw, &p.host, &p.maximum, &p.standard}) {
    EXPECT_TRUE(has(*stage, "sgx2") && has(*stage, "sgxlc")) << (stage - &p.raw);
    EXPECT_FALSE(has(*stage, "sgx-kss")) << (stage - &p.raw);
    EXPECT_EQ(stage->cpuid.get(1, 0).eax, 0x706a1u);
    EXPECT_EQ(stage->msr.feature_control(), 0x60001u);
  }
  EXPECT_TRUE(has(p.domain, "sgx"));
  EXPECT_FALSE(has(p.domain, "sgx2") || has(p.domain, "sgxlc"));
  EXPECT_EQ(p.domain.cpuid.get(1, 0).eax, 0x506e3u);
  EXPECT_EQ(p.domain.msr.feature_control(), 0x40001u);
}

TEST(Policies, AreJsonWithNamesAndMissingMsrs) {
  const auto json =
      to_json(policies_of(default_machine(), "epc = 1\ncpuid = 'host,sgxlc=0'\nsgx_provision = 1", one_mib()));
  EXPECT_EQ(json["sgx_provision"], true);
  const auto msr = [&](const char* stage, std::size_t i) { return json[stage]["msrs"][i]; };
  EXPECT_EQ(msr("domain", 0)["value"], "0x40001");
  EXPECT_TRUE(msr("domain", 1)["value"].is_null());
  EXPECT_EQ(msr("default", 1)["value"], "0xa6053e051270b7ac");
  for (const auto& leaf : json["domain"]["cpuid"]) {
    if (leaf["leaf"] != 7) continue;
    EXPECT_THAT(leaf["names"].get<std::vector<std::string>>(),
                testing::AllOf(testing::Contains("sgx"), testing::Not(testing::Contains("sgxlc"))));
  }
}

}  // namespace
}  // namespace cloister::toolstack
