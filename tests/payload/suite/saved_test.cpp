// Payloads, and Linux, that are saved while they run, and go on in other domains (hypervisor/saving/): they find
// everything as it was, and print what they print unbroken.
//
// CLOISTER_FULL: Linux is saved a hundred times on its way, with one processor, too, and on the checked engine.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "machine.hpp"

namespace cloister::payload {
namespace {

/// Not on the engine that checks the compiler: it writes what the compiler does, ten times as slowly.
bool is_checked() { return engine_under_test() == silicon::EngineKind::checked; }

class SavedDomain : public testing::TestWithParam<const char*> {};

TEST_P(SavedDomain, FindsNothingOfIt) {
  if (is_checked()) GTEST_SKIP() << "as on the compiler";
  // No common divisor with anything that a payload does, so that it is saved anywhere.
  const Setting unbroken{.memory_mib = 64}, broken{.memory_mib = 64, .save_after = 3, .turn_alone = 19'997};
  const auto whole = run_payload(GetParam(), unbroken), parts = run_payload(GetParam(), broken);
  ASSERT_TRUE(whole) << whole.error();
  ASSERT_TRUE(parts) << parts.error();
  EXPECT_GT(parts->saved, 3u);
  EXPECT_EQ(parts->console, whole->console);
  EXPECT_EQ(parts->outcome.ending, hypervisor::Ending::powered_off) << parts->outcome.report;
  RecordProperty("saved", std::to_string(parts->saved));
}
INSTANTIATE_TEST_SUITE_P(Payloads, SavedDomain,
                         testing::Values("exceptions", "paging", "segments", "debug", "control", "interrupts", "code"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST(SavedDomains, OfSeveralProcessors) {
  if (is_checked()) GTEST_SKIP() << "as on the compiler";
  for (const char* name : {"interrupts", "code"}) {
    const auto whole = run_payload(name, {.vcpus = 4, .memory_mib = 64}),
               parts = run_payload(name, {.vcpus = 4, .memory_mib = 64, .save_after = 2});
    ASSERT_TRUE(whole) << whole.error();
    ASSERT_TRUE(parts) << parts.error();
    EXPECT_GT(parts->saved, 3u);
    EXPECT_EQ(parts->console, whole->console) << name;
  }
}

TEST(SavedDomains, LinuxGoesOn) {
  if (is_checked()) GTEST_SKIP() << "as on the compiler";
  const std::filesystem::path folder = CLOISTER_SOURCE_DIR "/build/guest";
  if (!exists(folder / "vmlinuz")) GTEST_SKIP() << "no guest in " << folder << "; scripts/guest-image makes it";
  const bool full = std::getenv("CLOISTER_FULL") != nullptr;
  if (!full && engine_under_test() != silicon::EngineKind::compiler) GTEST_SKIP() << "takes long: with CLOISTER_FULL";
  for (const u32 vcpus : full ? std::vector{1u, 2u} : std::vector{2u}) {
    Setting setting{.vcpus = vcpus,
                    .memory_mib = 256,
                    .kernel = folder / "vmlinuz",
                    .ramdisk = folder / "initramfs.cpio",
                    .cmdline = "console=ttyS0 cloister.test=process,awk"};
    const auto whole = run_payload("", setting);
    ASSERT_TRUE(whole) << whole.error();
    // Rounds are of a million instructions, or of 50,000 for each processor.
    const u64 rounds = whole->outcome.instructions / (vcpus == 1 ? 1'000'000 : 50'000 * vcpus);
    setting.save_after = rounds / (full ? 20 : 4);
    const auto parts = run_payload("", setting);
    ASSERT_TRUE(parts) << parts.error();
    EXPECT_GT(parts->saved, full ? 10u : 2u);
    EXPECT_EQ(parts->console, whole->console);
    EXPECT_EQ(parts->outcome.ending, whole->outcome.ending) << parts->outcome.report;
  }
}

}  // namespace
}  // namespace cloister::payload
