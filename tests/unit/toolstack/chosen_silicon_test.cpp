// The processor that `silicon` chooses: by name, from a dump, and what is said where it cannot be had.
#include "plan/chosen_silicon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "plan/features_json.hpp"
#include "plan/plan.hpp"
#include "plan/render.hpp"
#include "policy/libvirt_models.hpp"
#include "silicon/backend.hpp"
#include "silicon/silicon.hpp"
#include "unit/policy/dumps.hpp"
#include "unit/policy/known_dumps.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;

constexpr u64 some_epc = 64;

DomainConfig config(const std::string& silicon, u64 epc_mib = some_epc) {
  const auto read =
      read_config("name = 'd'\nkernel = 'k'\nepc = " + std::to_string(epc_mib) + "\nsilicon = '" + silicon + "'");
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  return read ? read->config : DomainConfig{};
}

/// A file with a text, for a test.
class Dump {
 public:
  explicit Dump(std::string_view text)
      : path_(std::filesystem::temp_directory_path() / ("cloister-dump." + std::to_string(::getpid()))) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~Dump() { std::filesystem::remove(path_); }
  Dump(const Dump&) = delete;
  Dump& operator=(const Dump&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

ChosenSilicon good(const DomainConfig& config) {
  auto chosen = choose_silicon(silicon::backend(), config);
  EXPECT_TRUE(chosen.has_value()) << (chosen ? "" : chosen.error().message);
  return chosen.value_or(ChosenSilicon{});
}
std::string error_of(const DomainConfig& config) {
  const auto chosen = choose_silicon(silicon::backend(), config);
  EXPECT_FALSE(chosen.has_value());
  if (chosen) return "";
  EXPECT_EQ(chosen.error().at, (Position{4, 11}));
  return chosen.error().message;
}

/// CPUID of a package that was made so, with EPC.
arch::CpuidRegs cpuid(const ChosenSilicon& chosen, u32 leaf, u32 subleaf = 0) {
  silicon::Package::Config package;
  package.epc = {{arch::Mfn{0x100000}, 256}};
  package.features = chosen.features;
  return silicon::Package::cpuid(package, leaf, subleaf);
}

TEST(ChosenSilicon, DefaultIsEverythingAndMasksNothing) {
  const ChosenSilicon chosen = good(config("default"));
  EXPECT_EQ(chosen.described.masking, policy::Masking{});
  EXPECT_EQ(cpuid(chosen, 0x12).eax, silicon::SgxFeatures{}.capabilities());
}

TEST(ChosenSilicon, AnUnknownNameIsAnErrorWhereItStands) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\nsilicon = 'skylake'");
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().at, (Position{3, 11}));
  EXPECT_THAT(read.error().message, AllOf(HasSubstr("'skylake'"), HasSubstr("did you mean 'skylake-client'?"),
                                          HasSubstr("sapphire-rapids"), HasSubstr("default")));
}

// Whatever is described, the package offers that as far as it is implemented, and no more.
TEST(ChosenSilicon, OffersTheDescribedThatIsImplemented) {
  const ChosenSilicon everything = good(config("default"));
  for (const policy::Description& d : policy::descriptions()) {
    const ChosenSilicon chosen = good(config(std::string(d.name)));
    const policy::CpuidTable described = policy::leaves_of(d);
    EXPECT_EQ(cpuid(chosen, 1).eax, d.signature) << d.name;
    for (const auto& [leaf, subleaf] : {std::pair{1u, 0u}, {7u, 0u}, {0x8000'0001u, 0u}}) {
      const arch::CpuidRegs all = cpuid(everything, leaf, subleaf), has = cpuid(chosen, leaf, subleaf),
                            says = described.get(leaf, subleaf);
      EXPECT_EQ(has.ecx, all.ecx & says.ecx) << d.name << " " << leaf;
      EXPECT_EQ(has.edx, all.edx & says.edx) << d.name << " " << leaf;
      if (leaf == 7) {
        EXPECT_EQ(has.ebx, all.ebx & says.ebx) << d.name;
      }
    }
    EXPECT_EQ(cpuid(chosen, 0x12, 0).eax, cpuid(everything, 0x12, 0).eax & d.capabilities.eax) << d.name;
    EXPECT_EQ(cpuid(chosen, 0x12, 0).ebx, d.capabilities.ebx) << d.name;
    EXPECT_EQ(cpuid(chosen, 0x12, 1).eax, d.attributes.eax) << d.name;
    EXPECT_EQ(cpuid(chosen, 0x12, 1).ecx, cpuid(everything, 0x12, 1).ecx & d.attributes.ecx) << d.name;
    EXPECT_EQ(cpuid(chosen, 0x12, 2).ecx & 0xf, d.epc_property) << d.name;
  }
}

TEST(ChosenSilicon, SaysWhatIsMaskedAndWhatIsHidden) {
  const policy::Masking skylake = good(config("skylake-client")).described.masking;
  // AVX is offered where the host has it.
  EXPECT_THAT(skylake.masked.sgx, Contains("mpx in enclaves"));
  EXPECT_THAT(skylake.masked.other, IsSupersetOf({"mpx", "vmx"}));
  EXPECT_THAT(skylake.hidden.sgx, IsSupersetOf({"sgxlc", "sgx2", "sgx-oss", "sgx-enclv", "sgx-edeccssa", "sgx-exinfo",
                                                "sgx-kss", "sgx-aex-notify"}));
  EXPECT_THAT(skylake.hidden.other, IsSupersetOf({"umip", "rdpid"}));
  const policy::Masking server = good(config("icelake-server")).described.masking;
  EXPECT_THAT(server.masked.sgx,
              AllOf(IsSupersetOf({"sgx-keys", "avx512 in enclaves", "enclaves of 2^47 bytes and more"}),
                    Not(Contains("sgx-eupdatesvn"))));
  EXPECT_THAT(server.hidden.sgx, AllOf(Contains("sgx-oss"), Not(Contains("sgx2"))));
}

TEST(ChosenSilicon, ADumpIsADescription) {
  const Dump file(tests::aida_dump);
  const ChosenSilicon chosen = good(config(file.path()));
  EXPECT_THAT(chosen.warnings, IsEmpty());
  const ChosenSilicon named = good(config("icelake-client"));
  EXPECT_EQ(chosen.described.masking, named.described.masking);
  for (const u32 leaf : {1u, 7u, 0x12u, 0x8000'0001u}) EXPECT_EQ(cpuid(chosen, leaf), cpuid(named, leaf)) << leaf;
}

TEST(ChosenSilicon, DumpsThatOthersPublishedGiveMachines) {
  struct Case {
    const char *dump, *like;  ///< the description that it is, in what is implemented
  };
  for (const Case& c : {Case{"GenuineIntel00706E5_IceLakeY_CPUID.txt", "icelake-client"},
                        Case{"xps13-9370-cpuid-raw.txt", "kabylake-client"}}) {
    if (!tests::known_dump(c.dump)) GTEST_SKIP() << "needs " << tests::known_dumps;
    const ChosenSilicon chosen = good(config(tests::known_dumps + c.dump)), named = good(config(c.like));
    EXPECT_THAT(chosen.warnings, IsEmpty()) << c.dump;
    EXPECT_EQ(chosen.described.masking, named.described.masking) << c.dump;
    for (const u32 leaf : {1u, 7u, 0x12u, 0x8000'0001u, 0x8000'0003u}) {
      EXPECT_EQ(cpuid(chosen, leaf), cpuid(named, leaf)) << c.dump << " " << leaf;
    }
  }
}

TEST(ChosenSilicon, WarnsOfProcessorsThatDisagree) {
  std::string text = tests::aida_dump;
  text.replace(text.rfind("00000063"), 8, "00000003");
  const Dump file(text);
  const ChosenSilicon chosen = good(config(file.path()));
  ASSERT_THAT(chosen.warnings, SizeIs(1));
  EXPECT_THAT(chosen.warnings[0].message, AllOf(HasSubstr("CPU 1 "), HasSubstr("CPU 0,")));
  EXPECT_EQ(cpuid(chosen, 0x12).eax, 0x63u) << "the first processor's";
}

TEST(ChosenSilicon, RefusesWhatSaysTooLittleOfSgx) {
  const Dump file(tests::instlat_dump);
  EXPECT_THAT(error_of(config(file.path())), HasSubstr("unknown"));
  EXPECT_EQ(good(config(file.path(), 0)).described.sgx, policy::SgxState::unknown) << "no EPC, no question";
}

TEST(ChosenSilicon, RefusesSgxThatIsOffOrAbsent) {
  const auto changed = [](const std::string& from, const std::string& to) {
    std::string text = tests::raw_dump;
    return text.replace(text.find(from), from.size(), to);
  };
  {
    const Dump file(changed("0x00000012 0x00: eax=0x00000001", "0x00000012 0x00: eax=0x00000000"));
    EXPECT_THAT(error_of(config(file.path())), HasSubstr("switched off"));
  }
  const Dump file(changed("ebx=0x029c67af", "ebx=0x029c67ab"));
  EXPECT_THAT(error_of(config(file.path())), HasSubstr("has no SGX"));
  EXPECT_EQ(good(config(file.path(), 0)).described.sgx, policy::SgxState::absent);
}

TEST(ChosenSilicon, ErrorsInADumpHaveItsLine) {
  {
    const Dump file("CPU 0:\n   0x00000000 0x00: eax=0x00000016\n");
    EXPECT_THAT(error_of(config(file.path())),
                AllOf(HasSubstr(file.path()), HasSubstr("line 2: found"), HasSubstr("expected")));
  }
  {
    const Dump file("CPU 0:\n   0x00000000 0x00: eax=0x16 ebx=0x1 ecx=0x2 edx=0x3\n");
    EXPECT_THAT(error_of(config(file.path())), HasSubstr("does not show leaf 0x1 of CPU 0"));
  }
  EXPECT_THAT(error_of(config("./no-such-dump")), HasSubstr("No such file"));
}

ChosenSilicon on_machine(const std::string& machine, const std::string& silicon, u64 epc_mib = some_epc) {
  auto chosen = choose_silicon(silicon::backend(), config(silicon, epc_mib), machine);
  EXPECT_TRUE(chosen.has_value()) << (chosen ? "" : chosen.error().message);
  return chosen.value_or(ChosenSilicon{});
}

TEST(ChosenSilicon, ADomainThatSaysNothingHasTheMachines) {
  const ChosenSilicon chosen = on_machine("skylake-client", "default"), named = good(config("skylake-client"));
  EXPECT_EQ(chosen.features, named.features);
  EXPECT_EQ(chosen.features, machine_features("skylake-client"));
  EXPECT_EQ(chosen.described.name, "skylake-client");
  EXPECT_EQ(chosen.described.masking, named.described.masking);
  EXPECT_EQ(machine_features(""), silicon::Features{});
}

// Whatever both are, no feature comes from the domain alone.
TEST(ChosenSilicon, ADomainsOnlyNarrowsTheMachines) {
  for (const policy::Description& machine : policy::descriptions()) {
    const ChosenSilicon whole = on_machine(std::string(machine.name), "default");
    for (const policy::Description& d : policy::descriptions()) {
      const ChosenSilicon chosen = on_machine(std::string(machine.name), std::string(d.name)),
                          alone = good(config(std::string(d.name)));
      EXPECT_EQ(cpuid(chosen, 1).eax, d.signature);
      for (const auto& [leaf, subleaf] : {std::pair{1u, 0u}, {7u, 0u}, {0xdu, 1u}, {0x12u, 0u}, {0x12u, 1u}}) {
        arch::CpuidRegs have = cpuid(chosen, leaf, subleaf), most = cpuid(whole, leaf, subleaf),
                        own = cpuid(alone, leaf, subleaf);
        if (leaf != 1) {
          EXPECT_EQ(have.eax, most.eax & own.eax) << machine.name << " " << d.name << " " << leaf;
        }
        if (leaf == 7 || leaf == 0x12) {
          EXPECT_EQ(have.ebx, most.ebx & own.ebx) << machine.name << " " << d.name << " " << leaf;
        }
        EXPECT_EQ(have.ecx, most.ecx & own.ecx) << machine.name << " " << d.name << " " << leaf;
      }
      const auto sizes = [](const ChosenSilicon& c) { return cpuid(c, 0x12).edx; };
      EXPECT_EQ(sizes(chosen) >> 8, std::min(sizes(whole), sizes(alone)) >> 8) << machine.name << " " << d.name;
    }
  }
}

TEST(ChosenSilicon, WhatOfItsSgxTheMachineHasNotIsAWarning) {
  const ChosenSilicon chosen = on_machine("skylake-client", "icelake-server");
  ASSERT_THAT(chosen.warnings, SizeIs(1));
  EXPECT_EQ(chosen.warnings[0].at, (Position{4, 11}));
  EXPECT_EQ(chosen.warnings[0].message,
            "silicon 'icelake-server': the machine's silicon, 'skylake-client', has not all of it: sgxlc, sgx2, "
            "sgx-eupdatesvn, sgx-exinfo, sgx-kss, enclaves of 2^36 bytes and more");
  EXPECT_THAT(chosen.described.masking.masked.sgx, IsSupersetOf({"sgx2", "sgxlc", "sgx-eupdatesvn"}));
  EXPECT_THAT(on_machine("skylake-client", "icelake-server", 0).warnings, IsEmpty()) << "no EPC, no SGX";
  EXPECT_THAT(on_machine("icelake-server", "skylake-client").warnings, IsEmpty()) << "nothing is missing";
  EXPECT_THAT(on_machine("icelake-server", "icelake-server").warnings, IsEmpty());
}

TEST(ChosenSilicon, ADumpIsReadByWhoeverIsAsked) {
  std::string asked;
  const auto reader = [&](const std::string& path) -> tl::expected<std::vector<u8>, std::string> {
    asked = path;
    const std::string_view text = tests::aida_dump;
    return std::vector<u8>(text.begin(), text.end());
  };
  const auto chosen = choose_silicon(silicon::backend(), config("./a.dump"), "", reader);
  ASSERT_TRUE(chosen.has_value());
  EXPECT_EQ(asked, "./a.dump");
  EXPECT_EQ(chosen->described.name, "./a.dump");
  EXPECT_EQ(cpuid(*chosen, 0x12), cpuid(good(config("icelake-client")), 0x12));
}

// A description with one flag of SGX is a package with that one, and people have a name for its bit.
TEST(ChosenSilicon, EachFlagIsReadFromItsBit) {
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    policy::CpuidTable leaves = policy::leaves_of(*policy::find_description("skylake-client"));
    vmx::SgxFeatures expected = features_of(leaves).sgx;
    EXPECT_FALSE(expected.*row.flag) << row.name;
    arch::CpuidRegs regs = leaves.get(row.bit.leaf, row.bit.subleaf);
    value_of(regs, row.bit.reg) |= 1u << row.bit.bit;
    leaves.set(row.bit.leaf, row.bit.subleaf, regs);
    expected.*row.flag = true;
    EXPECT_EQ(features_of(leaves).sgx, expected) << row.name;
    EXPECT_TRUE(std::ranges::any_of(policy::features(), [&](const policy::Feature& f) {
      return arch::CpuidBit{f.leaf, f.subleaf, f.reg, f.bit} == row.bit;
    })) << row.name;
  }
}

// A record and a launch message keep all of it.
TEST(ChosenSilicon, FeaturesComeBackFromJson) {
  for (const policy::Description& d : policy::descriptions()) {
    const silicon::Features features = machine_features(d.name);
    const auto read = read_features(nlohmann::json::parse(to_json(features).dump()));
    ASSERT_TRUE(read.has_value()) << read.error();
    EXPECT_EQ(*read, features) << d.name;
  }
  const nlohmann::json whole = to_json(silicon::Features{});
  EXPECT_EQ(whole.size(), 11u);
  for (const auto& [name, value] : whole.items()) {
    nlohmann::json object = whole;
    object.erase(name);
    EXPECT_THAT(read_features(object).error(), HasSubstr("'" + name + "'"));
    object = whole;
    object[name] = nlohmann::json::array();
    EXPECT_FALSE(read_features(object).has_value()) << name;
  }
  for (const auto& [name, value] : whole["sgx"].items()) {
    nlohmann::json object = whole;
    object["sgx"][name] = -1;
    EXPECT_THAT(read_features(object).error(), HasSubstr("'" + name + "'"));
  }
}

// A domain that an older release made goes on under this one.
TEST(ChosenSilicon, AFlagThatARecordDoesNotNameIsOff) {
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    nlohmann::json object = to_json(silicon::Features{});
    object["sgx"].erase(row.name);
    silicon::Features expected;
    expected.sgx.*row.flag = false;
    const auto read = read_features(object);
    ASSERT_TRUE(read.has_value()) << read.error();
    EXPECT_EQ(*read, expected) << row.name;
  }
}

// SDM vol. 4, table 2-2: without launch control the hash is Intel's, and a guest cannot read it.
TEST(ChosenSilicon, WithoutLaunchControlThereIsNoOtherHash) {
  const ChosenSilicon chosen = good(config("skylake-client"));
  const auto raw = [&](u32 leaf, u32 subleaf) { return cpuid(chosen, leaf, subleaf); };
  DomainConfig domain = config("skylake-client");
  const auto plan = make_plan(domain, raw, {}, chosen.described);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->msr.feature_control(), 0x40001u);
  EXPECT_THAT(render_text(*plan), HasSubstr("IA32_SGXLEPUBKEYHASH0 #GP"));
  domain.lehash = {1, 2, 3, 4};
  EXPECT_THAT(make_plan(domain, raw).error().message, AllOf(HasSubstr("'lehash'"), HasSubstr("launch control")));
}

std::string golden(const std::string& name) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/tests/unit/toolstack/golden/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The part of a dry run that is about silicon. Features that depend on the host's are left aside.
DomainPlan plan_of(const std::string& silicon) {
  const ChosenSilicon chosen = good(config(silicon));
  auto plan = make_plan(
      config(silicon), [&](u32 leaf, u32 subleaf) { return cpuid(chosen, leaf, subleaf); }, {}, chosen.described);
  EXPECT_TRUE(plan.has_value());
  DomainPlan result = plan.value_or(DomainPlan{});
  const std::set<std::string> of_the_host{"aes", "pclmulqdq", "sha",  "avx",        "avx2",
                                          "fma", "f16c",      "vaes", "vpclmulqdq", "avx in enclaves"};
  for (policy::FeatureNames* names : {&result.silicon.masking.masked, &result.silicon.masking.hidden}) {
    std::erase_if(names->other, [&](const std::string& n) { return of_the_host.contains(n); });
    std::erase_if(names->sgx, [&](const std::string& n) { return of_the_host.contains(n); });
  }
  return result;
}

TEST(ChosenSilicon, ADryRunShowsItForPeople) {
  for (const std::string name : {"skylake-client", "icelake-server"}) {
    const std::string text = render_text(plan_of(name));
    const std::size_t start = text.find("\nsilicon " + name), end = text.find("\nmemory map");
    ASSERT_NE(start, std::string::npos);
    EXPECT_EQ(text.substr(start + 1, end - start - 1), golden(name + ".txt"));
  }
}

TEST(ChosenSilicon, ADryRunShowsItForPrograms) {
  const auto json = nlohmann::json::parse(render_json(plan_of("skylake-client")))["silicon"];
  EXPECT_EQ(json["name"], "skylake-client");
  EXPECT_EQ(json["processor"], "Intel(R) Core(TM) i5-6400T CPU @ 2.20GHz");
  EXPECT_EQ(json["sgx"], "offered");
  EXPECT_THAT(json["masked"]["sgx"].get<std::vector<std::string>>(), Contains("mpx in enclaves"));
  EXPECT_THAT(json["hidden"]["sgx"].get<std::vector<std::string>>(), Contains("sgxlc"));
}

// ------------------------------------------------------------------------------------------------ libvirt's models

tl::expected<ReadConfig, Diagnostic> model_with(const std::string& flags, const std::string& more = "epc = 64\n") {
  return read_config("name = 'd'\nkernel = 'k'\nsilicon = 'Skylake-Client-IBRS'\ncpu_flags = '" + flags + "'\n" + more);
}
tl::expected<DomainPlan, Diagnostic> plan_of_model(const std::string& flags, const std::string& more = "epc = 64\n") {
  const auto read = model_with(flags, more);
  EXPECT_TRUE(read) << (read ? "" : read.error().message);
  if (!read) return tl::unexpected(read.error());
  const auto chosen = choose_silicon(silicon::backend(), read->config);
  if (!chosen) return tl::unexpected(chosen.error());
  return make_plan(
      read->config, [&](u32 leaf, u32 subleaf) { return cpuid(*chosen, leaf, subleaf); }, {}, chosen->described);
}

constexpr const char* usual = "sgx,sgx1,sgxlc,sgx-debug,sgx-mode64";

// QEMU masks leaf 12H of a named model by its flags, and so it is here.
TEST(LibvirtModel, HasOfSgxWhatItsFlagsSay) {
  const auto plan = plan_of_model(usual);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->cpuid.get(1, 0).eax, 0x506e0u);
  EXPECT_EQ(policy::brand_of(plan->cpuid), "Skylake-Client-IBRS");
  EXPECT_EQ(plan->cpuid.get(0x12, 0).eax, 1u);
  EXPECT_EQ(plan->cpuid.get(0x12, 0).ebx, 0u);
  EXPECT_EQ(plan->cpuid.get(0x12, 1).eax, 0x6u) << "DEBUG and MODE64BIT";
  EXPECT_TRUE(policy::has(plan->cpuid, *policy::find_feature("sgxlc")));
  EXPECT_TRUE(plan->msr.launch_control);

  const auto all = plan_of_model(std::string(usual) +
                                 ",sgx2,sgx-kss,sgx-exinfo,sgx-provisionkey,sgx-tokenkey,"
                                 "sgx-edeccssa,sgx-aex-notify,sgx-eupdatesvn");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->cpuid.get(0x12, 0).eax, 0xc03u);
  EXPECT_EQ(all->cpuid.get(0x12, 0).ebx, 1u);
  EXPECT_EQ(all->cpuid.get(0x12, 1).eax, 0x4b6u);

  const auto without = plan_of_model("", "");
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(without->cpuid.get(0x12, 0), arch::CpuidRegs{});
}

// cpuid changes what the model and its flags made, as it does for any silicon.
TEST(LibvirtModel, IsChangedByCpuidToo) {
  const auto plan = plan_of_model(usual, "epc = 64\ncpuid = 'host,sgx-debug=0,sgx-kss=1'\n");
  ASSERT_FALSE(plan) << "sgx-kss is no flag";
  const auto less = plan_of_model(usual, "epc = 64\ncpuid = 'host,sgx-debug=0'\n");
  ASSERT_TRUE(less) << less.error().message;
  EXPECT_EQ(less->cpuid.get(0x12, 1).eax, 0x4u);
}

TEST(LibvirtModel, NamesEachLack) {
  const auto read = model_with("sgx,sgx1,sgxlc,sgx-mode64,avx512f,rdctl-no,-avx2,wbnoinvd,sse4.2");
  ASSERT_TRUE(read);
  const auto chosen = choose_silicon(silicon::backend(), read->config);
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_THAT(chosen->described.masking.masked.other,
              AllOf(Contains("rtm"), Contains("avx512f"), Contains("rdctl-no"), Contains("wbnoinvd"),
                    Not(Contains("avx2")), Not(Contains("sse4.2"))));
  ASSERT_THAT(chosen->warnings, SizeIs(1));
  EXPECT_EQ(chosen->warnings[0].at, (Position{4, 13}));
  EXPECT_EQ(chosen->warnings[0].message,
            "'cpu_flags': not offered by the machine, and left out: avx512f, rdctl-no, wbnoinvd");

  const auto icelake = read_config("name = 'd'\nkernel = 'k'\nsilicon = 'Icelake-Server'\n");
  const auto its = choose_silicon(silicon::backend(), icelake->config);
  ASSERT_TRUE(its);
  EXPECT_THAT(its->warnings, IsEmpty()) << "what the model has is in the dry run";
  EXPECT_THAT(its->described.masking.masked.other,
              AllOf(Contains("wbnoinvd"), Contains("avx512f"), Not(Contains("arat"))));
}

TEST(LibvirtModel, OnAMachineWithLessNamesWhatTheMachineLacks) {
  const auto read = model_with(usual + std::string(",sgx2"));
  const auto chosen = choose_silicon(silicon::backend(), read->config, "skylake-client");
  ASSERT_TRUE(chosen) << chosen.error().message;
  ASSERT_FALSE(chosen->warnings.empty());
  EXPECT_EQ(chosen->warnings[0].message, "'cpu_flags': not offered by the machine, and left out: sgxlc, sgx2");
}

TEST(LibvirtModel, IsRefusedWithEpcIfItsFlagsMakeNoEnclave) {
  const auto refused = [](const std::string& flags) {
    const auto plan = plan_of_model(flags);
    EXPECT_FALSE(plan) << flags;
    return plan ? "" : format("d.cfg", plan.error());
  };
  EXPECT_THAT(refused(""), AllOf(HasSubstr("d.cfg:4:13"), HasSubstr("a model without SGX"), HasSubstr("sgx-mode64")));
  EXPECT_THAT(refused("sgx1"), HasSubstr("a model without SGX"));
  EXPECT_THAT(refused("sgx,sgx1,-lm"), AllOf(HasSubstr("d.cfg:4:13"), HasSubstr("'sgx' was asked for")));
  EXPECT_THAT(refused("sgx"), AllOf(HasSubstr("d.cfg:4:13"), HasSubstr("sgx without sgx1")));
  const auto bare = read_config("name = 'd'\nkernel = 'k'\nepc = 1\nsilicon = 'Skylake-Client-IBRS'\n");
  const auto chosen = choose_silicon(silicon::backend(), bare->config);
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().at, (Position{4, 11}));
}

TEST(LibvirtModel, WarnsOfEnclavesThatCannotBe) {
  const auto warnings = [](const std::string& flags) {
    std::vector<std::string> texts;
    const auto chosen = choose_silicon(silicon::backend(), model_with(flags)->config);
    EXPECT_TRUE(chosen);
    for (const Diagnostic& warning : chosen->warnings) texts.push_back(warning.message);
    return texts;
  };
  EXPECT_THAT(warnings(usual), IsEmpty());
  EXPECT_THAT(warnings(usual + std::string(",sgx-oss,sgx-enclv")), ElementsAre(HasSubstr("left out: sgx-enclv")));
  EXPECT_THAT(warnings("sgx,sgx1,sgxlc"), ElementsAre(HasSubstr("without sgx-mode64 no enclave of 64 bits")));
  EXPECT_THAT(warnings("sgx,sgx1,sgx-mode64"), ElementsAre(HasSubstr("no launch enclave runs")));
  EXPECT_THAT(warnings("sgx,sgx1,sgx-mode64,sgx-tokenkey"), IsEmpty());
}

// Each can be a domain's, and a name without a signature has the processor's own.
TEST(LibvirtModel, EachMakesADomain) {
  for (const policy::LibvirtModel& model : policy::libvirt_models()) {
    const auto read = read_config("name = 'd'\nkernel = 'k'\nepc = 8\nsilicon = '" + std::string(model.name()) +
                                  "'\ncpu_flags = '" + usual + "'\n");
    ASSERT_TRUE(read) << read.error().message;
    const auto chosen = choose_silicon(silicon::backend(), read->config);
    ASSERT_TRUE(chosen) << model.name() << ": " << chosen.error().message;
    EXPECT_NE(cpuid(*chosen, 1).eax, 0u);
    const auto plan = make_plan(
        read->config, [&](u32 leaf, u32 subleaf) { return cpuid(*chosen, leaf, subleaf); }, {}, chosen->described);
    EXPECT_TRUE(plan) << model.name() << ": " << (plan ? "" : plan.error().message);
  }
}

}  // namespace
}  // namespace cloister::toolstack
