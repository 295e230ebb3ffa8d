// Domains on two engines in lockstep: by the deterministic clock each runs twice, and all that a witness sees
// (witness.hpp) must be the same, to the instruction: registers, flags, exits, memory; and what the console printed.
//
// CLOISTER_FULL: Linux from its first instruction to its last, not only the beginning.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "payload/suite/machine.hpp"
#include "silicon/backend.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "witness.hpp"

namespace cloister::lockstep {
namespace {

using payload::Setting;
using silicon::EngineKind;

std::string_view name_of(EngineKind kind) {
  for (const silicon::EngineName& name : silicon::engine_names) {
    if (name.kind == kind) return name.name;
  }
  return "unknown";
}

std::unique_ptr<vmx::Package> witness(vmx::Package& own, const platform::MemoryMap& map, const Terms& terms,
                                      Sights& sights, std::atomic<bool>& stop) {
  std::vector<Ram> ram;
  for (const platform::MapEntry& entry : map.entries) {
    if (entry.type == platform::MapType::ram) ram.push_back({entry.base, entry.bytes / arch::page_size});
  }
  return std::make_unique<Witness>(own, terms, std::move(ram), sights, stop);
}

/// Runs the domain with the first setting, then with the second. What was different; empty: nothing.
std::string difference(const std::string& payload, std::array<Setting, 2> settings, const Terms& terms, u64& seen) {
  Sights sights;
  std::vector<payload::Result> results;
  for (Setting& setting : settings) {
    std::atomic<bool> stop = false;
    setting.stop = &stop;
    setting.in_front = [&](vmx::Package& own, const platform::MemoryMap& map) {
      return witness(own, map, terms, sights, stop);
    };
    if (!results.empty()) sights.begin_second();
    auto result = payload::run_payload(payload, setting);
    if (!result) return result.error();
    results.push_back(std::move(*result));
  }
  seen = results[0].outcome.instructions;
  if (const auto found = sights.difference_at_end()) return *found;
  if (results[0].console != results[1].console) return "the console's bytes";
  if (results[0].outcome.instructions != results[1].outcome.instructions) return "the counts of instructions";
  if (results[0].outcome.ending != results[1].outcome.ending) return "the endings";
  if (results[0].outcome.report != results[1].outcome.report) return "the reports of the end";
  return {};
}

/// On the interpreter, and on the other engine.
std::array<Setting, 2> on_both(Setting setting, EngineKind other) {
  setting.engine = EngineKind::interpreter;
  Setting second = setting;
  second.engine = other;
  return {setting, second};
}

class Lockstep : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    if (silicon::find_backend(GetParam()) == nullptr) GTEST_SKIP() << "there is no " << name_of(GetParam()) << " here";
    // Payloads do little twice: what is translated is translated at once.
    silicon::set_compiler_options({.entries = 0});
  }
  void TearDown() override { silicon::set_compiler_options({}); }
  void expect_same(const std::string& payload, const Setting& setting, const Terms& terms) {
    u64 instructions = 0;
    EXPECT_EQ(difference(payload, on_both(setting, GetParam()), terms, instructions), "");
    EXPECT_GE(instructions, terms.every) << "it was never looked at closely";
    RecordProperty("instructions", std::to_string(instructions));
  }
};

TEST_P(Lockstep, Payloads) {
  // Numbers without common divisors, so that loops are stopped anywhere.
  constexpr Terms terms{.every = 9'973, .most = 50'000'000, .looks_at_memory = 7};
  for (const char* name : {"exceptions", "paging", "segments", "debug", "control", "interrupts", "code"}) {
    SCOPED_TRACE(name);
    expect_same(name, {.memory_mib = 64}, terms);
  }
  SCOPED_TRACE("sgx");
  expect_same("sgx", {.epc_mib = 64, .memory_mib = 64}, terms);
  if (!payload::offers_avx()) return;
  SCOPED_TRACE("sgx_avx");
  expect_same("sgx_avx", {.epc_mib = 64, .cpuid = {{"avx", true}}, .memory_mib = 64}, terms);
}

TEST_P(Lockstep, SeveralProcessors) {
  constexpr Terms terms{.every = 997, .most = 20'000'000, .looks_at_memory = 101};
  for (const char* name : {"interrupts", "code"}) {
    SCOPED_TRACE(name);
    expect_same(name, {.vcpus = 4, .memory_mib = 64}, terms);
  }
}

bool full() { return std::getenv("CLOISTER_FULL") != nullptr; }

class LinuxLockstep : public Lockstep {
 protected:
  void expect_same_boot(u32 vcpus, u64 most) {
    if (!full()) silicon::set_compiler_options({});  // as for everybody
    const std::filesystem::path folder = CLOISTER_GUEST_DIR;
    if (!exists(folder / "vmlinuz")) GTEST_SKIP() << "no guest in " << folder << "; scripts/guest-image makes it";
    const Setting setting{.vcpus = vcpus,
                          .memory_mib = 256,
                          .kernel = folder / "vmlinuz",
                          .ramdisk = folder / "initramfs.cpio",
                          .cmdline = "console=ttyS0 cloister.test=process,awk"};
    expect_same("", setting, {.every = 999'983, .most = full() ? ~u64{0} : most, .looks_at_memory = 1});
  }
};

TEST_P(LinuxLockstep, OneProcessor) {
  // The checked engine takes several times as long for each.
  expect_same_boot(1, GetParam() == EngineKind::checked ? 60'000'000 : 400'000'000);
}

TEST_P(LinuxLockstep, TwoProcessors) {
  if (!full()) GTEST_SKIP() << "with CLOISTER_FULL";
  expect_same_boot(2, 0);
}

// The test's own test: what is not the same is found, and where.
TEST(Witness, SeesOneWordOfMemoryThatIsAnother) {
  std::array<Setting, 2> settings = on_both({.memory_mib = 64}, EngineKind::interpreter);
  settings[1].cmdline = "another";
  u64 instructions = 0;
  const std::string found =
      difference("exceptions", settings, {.every = 997, .most = 1'000'000, .looks_at_memory = 1}, instructions);
  EXPECT_NE(found.find("memory's hash"), std::string::npos) << found;
}

TEST(Witness, SeesOtherMemory) {
  std::array<Setting, 2> settings = on_both({.memory_mib = 64}, EngineKind::interpreter);
  settings[1].memory_mib = 65;
  u64 instructions = 0;
  EXPECT_NE(difference("paging", settings, {.every = 997, .most = 1'000'000, .looks_at_memory = 1}, instructions), "");
}

TEST(Witness, SeesTheUpperHalvesOfVectors) {
  const auto package = silicon::backend().make_package({});
  const auto memory = package->make_memory();
  const auto vcpu = package->make_vcpu(*memory, {});
  Sight before, after;
  look_closely(before, *vcpu);
  vmx::UpperHalves halves = vcpu->upper_halves();
  halves.back() ^= 1;
  vcpu->set_upper_halves(halves);
  look_closely(after, *vcpu);
  EXPECT_FALSE(before == after);
}

// It stops processors everywhere, and the guest cannot tell.
TEST(Witness, ChangesNothing) {
  for (const u64 every : {u64{13}, u64{1'000'000'000}}) {
    Sights sights;
    std::atomic<bool> stop = false;
    const Terms terms{.every = every, .most = ~u64{0}, .looks_at_memory = ~u64{0}};
    Setting setting{.memory_mib = 64};
    const auto alone = payload::run_payload("exceptions", setting);
    setting.in_front = [&](vmx::Package& own, const platform::MemoryMap& map) {
      return witness(own, map, terms, sights, stop);
    };
    const auto seen = payload::run_payload("exceptions", setting);
    ASSERT_TRUE(alone && seen);
    EXPECT_EQ(alone->console, seen->console) << every;
    EXPECT_EQ(alone->outcome.instructions, seen->outcome.instructions) << every;
  }
}

const auto engines = testing::Values(EngineKind::checked, EngineKind::compiler);
const auto named = [](const auto& tested) { return std::string(name_of(tested.param)); };
INSTANTIATE_TEST_SUITE_P(Engines, Lockstep, engines, named);
INSTANTIATE_TEST_SUITE_P(Engines, LinuxLockstep, engines, named);

}  // namespace
}  // namespace cloister::lockstep
