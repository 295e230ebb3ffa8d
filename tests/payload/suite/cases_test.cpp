// Each payload's own verdict: it compares what it finds with the manual, and every case must say "ok".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine.hpp"
#include "silicon/silicon.hpp"

namespace cloister::payload {
namespace {

struct Payload {
  const char* name;
  u64 epc_mib;
  silicon::Features features{};
};

void PrintTo(const Payload& p, std::ostream* out) { *out << p.name; }

class Cases : public testing::TestWithParam<Payload> {};

TEST_P(Cases, AgreeWithTheManual) {
  const auto result = run_payload(GetParam().name, {.epc_mib = GetParam().epc_mib, .features = GetParam().features});
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  const auto cases = result->lines_with("CASE");
  EXPECT_FALSE(cases.empty());
  for (const std::string& line : cases) EXPECT_THAT(line, testing::EndsWith(" ok"));
  EXPECT_THAT(result->lines_with("DONE"),
              testing::ElementsAre("DONE cases=" + std::to_string(cases.size()) + " failures=0"));
}

INSTANTIATE_TEST_SUITE_P(Payloads, Cases,
                         testing::Values(Payload{"exceptions", 0}, Payload{"paging", 0}, Payload{"segments", 0},
                                         Payload{"debug", 0}, Payload{"control", 0}, Payload{"interrupts", 0},
                                         Payload{"code", 0}, Payload{"sgx", 64}, Payload{"no_sgx", 0},
                                         Payload{"sgx1", 64, first_generation()}),
                         [](const auto& tested) { return std::string(tested.param.name); });

// What a domain's CPUID does not list faults, though the processor has it; nothing else is different.
TEST(HiddenFlags, TakeTheirLeavesAlong) {
  const auto result = run_payload("sgx", {.epc_mib = 64, .cpuid = {{"sgx2", false}, {"sgx-oss", false}}});
  ASSERT_TRUE(result) << result.error();
  const auto cases = result->lines_with("CASE");
  EXPECT_THAT(cases, testing::Contains(testing::HasSubstr("hidden")));
  for (const std::string& line : cases) EXPECT_THAT(line, testing::EndsWith(" ok"));
  EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
}

// Enclaves whose XFRM has AVX, where the host has it.
TEST(EnclavesWithAvx, AgreeWithTheManual) {
  if (!offers_avx()) GTEST_SKIP() << "no AVX2 on this host";
  const auto result = run_payload("sgx_avx", {.epc_mib = 64, .cpuid = {{"avx", true}}});
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  for (const std::string& line : result->lines_with("CASE")) EXPECT_THAT(line, testing::EndsWith(" ok"));
  EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
}

TEST(Determinism, TwoRunsHaveTheSameInstructionsAndConsole) {
  for (const char* name : {"exceptions", "interrupts"}) {
    const auto first = run_payload(name, {}), second = run_payload(name, {});
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->outcome.instructions, second->outcome.instructions) << name;
    EXPECT_EQ(first->console, second->console) << name;
  }
}

TEST(Sleep, TakesAllEnclavesAndLeavesTheEpcUsable) {
  using enum hypervisor::EpcPaging;
  for (const auto clock : {silicon::ClockMode::deterministic, silicon::ClockMode::host}) {
    for (const auto paging : {none, trap, oss}) {
      const u64 frames = paging == none ? 0 : 512;
      const auto result = run_payload(
          "sgx_sleep", {.epc_mib = 64, .clock = clock, .wake = true, .frames = frames, .paging = paging, .storm = 1});
      ASSERT_TRUE(result) << result.error();
      EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
      EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
      EXPECT_THAT(result->console, testing::HasSubstr("same_key=")) << "it went on";
    }
  }
}

/// With a frame for each page, and with a pager of each kind.
TEST(Balloon, GivesWhatIsFreeAndNothingElse) {
  using enum hypervisor::EpcPaging;
  for (const auto paging : {none, trap, oss}) {
    const u64 frames = paging == none ? 0 : 512;
    const auto result = run_payload("sgx_balloon", {.epc_mib = 64, .frames = frames, .paging = paging});
    ASSERT_TRUE(result) << result.error();
    EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
    EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
  }
}

TEST(HostClock, InterruptsPassUnderItToo) {
  const auto result = run_payload("interrupts", {.clock = silicon::ClockMode::host});
  ASSERT_TRUE(result) << result.error();
  EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
}

// SDM vol. 3A, 6.15, interrupt 8: the third fault shuts the processor down; the domain ends with a report.
TEST(TripleFault, CrashesTheDomainWithAReport) {
  const auto result = run_payload("triple_fault", {});
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::crashed);
  EXPECT_THAT(result->outcome.report, testing::HasSubstr("triple fault"));
  EXPECT_THAT(result->console, testing::HasSubstr("about_to_shut_down"));
  EXPECT_TRUE(result->lines_with("DONE").empty());
}

}  // namespace
}  // namespace cloister::payload
