// Which of the features that depend on the host a domain has: chosen when it is made, and kept on every host that it
// comes to. The hosts are made up, so that it does not matter where this runs.
#include "plan/host_features.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/chosen_silicon.hpp"
#include "plan/package_values.hpp"
#include "plan/plan.hpp"
#include "plan/spec.hpp"
#include "protocol/launch.hpp"
#include "silicon/backend.hpp"
#include "silicon/cpuid.hpp"

namespace cloister::toolstack::on_hosts {
namespace {

using hypervisor::DomainShape;
using HostProcessor = silicon::HostFeatures;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr HostProcessor plain{.aes = true, .pclmul = true, .sha = true};
constexpr HostProcessor avx2{.aes = true, .pclmul = true, .sha = true, .avx = true, .fma = true, .f16c = true};
constexpr HostProcessor newest{
    .aes = true, .pclmul = true, .sha = true, .avx = true, .fma = true, .f16c = true, .vaes = true, .vpclmulqdq = true};

/// The silicon on a host with these features.
class OnHost : public vmx::Backend {
 public:
  explicit OnHost(const HostProcessor& host) : host_(host) {}
  vmx::CpuidRegs cpuid(const vmx::Package::Config& config, u32 leaf, u32 subleaf) const override {
    return silicon::cpuid_on(host_, config, leaf, subleaf);
  }
  std::unique_ptr<vmx::Package> make_package(vmx::Package::Config config) const override {
    return here().make_package(std::move(config));
  }
  tl::expected<vmx::EpcMemory::Pointer, vmx::MemoryError> create_epc(u64 pages) const override {
    return here().create_epc(pages);
  }
  tl::expected<vmx::EpcMemory::Pointer, vmx::MemoryError> adopt_epc(int pages, int epcm, u64 count) const override {
    return here().adopt_epc(pages, epcm, count);
  }
  bool discard_epc(const vmx::EpcMemory& memory, const vmx::EpcRow& row,
                   std::span<const vmx::EpcRow> kept) const override {
    return here().discard_epc(memory, row, kept);
  }
  u64 epc_beyond(const vmx::EpcMemory& memory, std::span<const vmx::EpcRow> pages) const override {
    return here().epc_beyond(memory, pages);
  }
  tl::expected<vmx::MachineCounters::Pointer, vmx::MemoryError> create_counters(u64 boot) const override {
    return here().create_counters(boot);
  }
  tl::expected<vmx::MachineCounters::Pointer, vmx::MemoryError> adopt_counters(int descriptor) const override {
    return here().adopt_counters(descriptor);
  }

 private:
  static const vmx::Backend& here() { return silicon::backend(); }
  const HostProcessor host_;
};

const Grants one_mib{{.package = 0, .extents = {{arch::Mfn{1 << 20}, 256}}}};

/// A domain as a host makes it.
struct Made {
  PackageValues package;
  DomainPlan plan;
  DomainShape shape() const { return shape_of(make_spec(plan, {}, vmx::ClockMode::host, {})); }
  bool has(std::string_view name) const { return policy::has(plan.cpuid, *policy::find_feature(name)); }
  u32 xfrm() const { return plan.cpuid.get(arch::leaf::sgx, 1).ecx; }
};
using Making = tl::expected<Made, Diagnostic>;

const std::string usual = "name = 'd'\nkernel = 'k'\nepc = 1\n";

/// `has`: it goes on, and had these.
Making make(const HostProcessor& host, const std::string& more = "",
            const std::optional<HostFeatures>& has = std::nullopt) {
  const OnHost backend(host);
  const auto read = read_config(usual + more);
  if (!read) return tl::unexpected(read.error());
  const auto chosen = choose_silicon(backend, read->config, "", read_dump, has);
  if (!chosen) return tl::unexpected(chosen.error());
  Made made{.package = package_values(default_machine(), one_mib, chosen->features), .plan = {}};
  auto plan = make_plan(backend, read->config, package_config(made.package, one_mib), packages_of(one_mib));
  if (!plan) return tl::unexpected(plan.error());
  made.plan = std::move(*plan);
  return made;
}

Made good(const Making& made) {
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return made.value_or(Made{});
}

/// It goes on there; empty: as it was.
std::string differs(const Made& domain, const HostProcessor& host, const std::string& more = "") {
  const auto there = make(host, more, host_features_of(domain.shape()));
  return there ? difference(domain.shape(), there->shape()) : there.error().message;
}

TEST(HostFeatures, AreBitsOfWhatAPackageOffers) {
  EXPECT_EQ(host_features_of(vmx::Features{}), all_host_features());
  for (const std::string_view name : all_host_features()) {
    HostFeatures others = all_host_features();
    std::erase(others, name);
    EXPECT_EQ(host_features_of(with_host_features({}, others)), others) << name;
    EXPECT_EQ(find_host_feature(name), &*std::ranges::find(all_host_features(), name));
  }
  EXPECT_EQ(with_host_features({}, all_host_features()), vmx::Features{});
  EXPECT_EQ(with_host_features({}, {}).sgx.xfrm, 3u);
  EXPECT_EQ(find_host_feature("sse4.2"), nullptr);
}

TEST(HostFeatures, ANewDomainHasThoseOfItsHost) {
  EXPECT_TRUE(good(make(avx2)).has("avx2") && good(make(avx2)).has("fma") && !good(make(avx2)).has("vaes"));
  EXPECT_EQ(good(make(avx2)).xfrm(), 7u);
  EXPECT_TRUE(good(make(newest)).has("vpclmulqdq"));
  EXPECT_FALSE(good(make(plain)).has("avx") || good(make(plain)).has("avx2"));
  EXPECT_EQ(good(make(plain)).xfrm(), 3u);
}

TEST(HostFeatures, CanBeSwitchedOffAndDemanded) {
  const Made off = good(make(newest, "cpuid = 'host,avx=0'"));
  EXPECT_THAT(host_features_of(off.shape()), IsEmpty());
  EXPECT_EQ(off.xfrm(), 3u);
  EXPECT_TRUE(good(make(avx2, "cpuid = 'host,avx=1'")).has("fma"));
  const auto refused = make(plain, "cpuid = 'host,avx=1'");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().at, (Position{4, 9}));
  EXPECT_THAT(refused.error().message, HasSubstr("'avx' was asked for, but the processor does not have it"));
}

TEST(HostFeatures, OfADescriptionAreThoseThatItHas) {
  EXPECT_THAT(host_features_of(good(make(newest, "silicon = 'gemini-lake'")).shape()), IsEmpty());
  EXPECT_THAT(host_features_of(good(make(newest, "silicon = 'skylake-client'")).shape()),
              ElementsAre("avx", "fma", "f16c", "avx2"));
  EXPECT_THAT(host_features_of(good(make(plain, "silicon = 'skylake-client'")).shape()), IsEmpty());
}

// SDM vol. 3D, 38.3, ECREATE: XFRM within what CPUID.12H.1 lists, whatever took it away.
TEST(HostFeatures, EnclavesHaveWhatCpuidLists) {
  for (const auto& [more, xfrm] :
       {std::pair("", u64{7}), {"cpuid = 'host,avx=0'", u64{3}}, {"cpuid = 'host,xsave=0'", u64{3}}}) {
    const Made made = good(make(newest, more));
    vmx::Package::Config package = package_config(made.package, one_mib);
    limit_xfrm(package, made.plan.cpuid);
    EXPECT_EQ(package.features.sgx.xfrm, xfrm) << more;
    EXPECT_EQ(made.xfrm(), xfrm) << more;
  }
}

TEST(HostFeatures, StayWhatTheyWereWhereverTheDomainGoesOn) {
  const Made old = good(make(plain)), one = good(make(avx2)), all = good(make(newest));
  EXPECT_EQ(differs(old, newest), "") << "made where there is no AVX, or before there was any";
  EXPECT_EQ(differs(old, plain), "");
  EXPECT_EQ(differs(one, newest), "");
  EXPECT_EQ(differs(all, newest), "");
  EXPECT_EQ(differs(good(make(newest, "cpuid = 'host,avx=1,fma=0'")), newest, "cpuid = 'host,avx=1,fma=0'"), "");
  EXPECT_EQ(differs(all, avx2), "CPUID: leaf 0x7.0 differs (without vaes, vpclmulqdq)");
  EXPECT_EQ(differs(one, plain),
            "CPUID: leaf 0x1.0 differs (without fma, avx, f16c); CPUID: leaf 0x7.0 differs (without avx2); "
            "CPUID: leaf 0xd.0 differs; CPUID: leaf 0xd.2 differs; CPUID: leaf 0x12.1 differs");
}

TEST(HostFeatures, OfADeterministicRunAreTheSameOnEachHost) {
  const auto demanded = [](const std::string& more) {
    return demanded_host_features(read_config(usual + more)->config);
  };
  EXPECT_THAT(demanded(""), IsEmpty());
  EXPECT_THAT(demanded("cpuid = 'host,avx=0'"), IsEmpty());
  EXPECT_EQ(demanded("cpuid = 'host,avx=1'"), all_host_features());
  EXPECT_EQ(demanded("cpuid = 'host,vaes=1'"), all_host_features());
  EXPECT_EQ(good(make(plain, "", demanded(""))).shape(), good(make(newest, "", demanded(""))).shape());
}

// A record and a launch message keep them by name. One of before they were chosen does not name any: its domain has
// AVX if its configuration demands it, as it had then.
TEST(HostFeatures, ComeBackFromJson) {
  const PackageValues values{.launch_hash = {}, .features = with_host_features({}, {"avx", "avx2"}), .faulty = {}};
  nlohmann::json object = to_json(values);
  EXPECT_EQ(object["host_features"], nlohmann::json::parse(R"(["avx", "avx2"])"));
  EXPECT_EQ(read_package_values(object, usual).value_or(PackageValues{}), values);
  EXPECT_EQ(read_package_values(object, usual + "cpuid = 'host,avx=1'").value_or(PackageValues{}), values);
  for (const char* wrong : {R"(["sse4.2"])", "[1]", R"("avx")"}) {
    object["host_features"] = nlohmann::json::parse(wrong);
    const auto read = read_package_values(object, usual);
    ASSERT_FALSE(read) << wrong;
    EXPECT_THAT(read.error(), HasSubstr("'host_features'")) << wrong;
  }
}

TEST(HostFeatures, OfBeforeTheyWereChosenFollowFromTheConfiguration) {
  nlohmann::json before = to_json(PackageValues{});
  before.erase("host_features");
  const auto of = [&](const std::string& config) {
    const auto read = read_package_values(before, config);
    EXPECT_TRUE(read) << config;
    return read ? host_features_of(read->features) : all_host_features();
  };
  EXPECT_THAT(of(usual), IsEmpty());
  EXPECT_THAT(of("no configuration"), IsEmpty());
  EXPECT_EQ(of(usual + "cpuid = 'host,avx=1'"), all_host_features());
  LaunchMessage message;
  message.config = usual;
  nlohmann::json launch = nlohmann::json::parse(write_launch(message));
  launch["package"] = before;
  EXPECT_THAT(host_features_of(read_launch(launch.dump())->package.features), IsEmpty());
  launch["package"] = to_json(PackageValues{});
  EXPECT_EQ(host_features_of(read_launch(launch.dump())->package.features), all_host_features());
}

}  // namespace
}  // namespace cloister::toolstack::on_hosts
