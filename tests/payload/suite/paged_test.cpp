// EPC that the hypervisor pages is EPC: the check lists of all leaves, and what the other payloads find, are as with a
// frame for each page, while a storm evicts pages after each exit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "engine_under_test.hpp"
#include "machine.hpp"
#include "sanitized.hpp"

namespace cloister::payload {
namespace {

using hypervisor::EpcPaging;

Setting paged(EpcPaging how, unsigned storm) {
  return {.epc_mib = 64,
          .clock = silicon::ClockMode::host,
          .vcpus = 2,
          .frames = 256,
          .paging = how,
          .storm = storm,
          .cpuid = {{"sgx-eupdatesvn", true}}};
}

/// The pager has begun a tracking cycle, and ended it, between the guest's EBLOCK, EMODT or EMODPR and what is due to
/// answer that no such cycle has ended (SGX_NOT_TRACKED): that no thread can have a translation any more is true.
bool tracked_by_the_pager(const std::string& line) {
  static const std::regex expected(
      R"(CASE (EWB/(order/)?EWB|EACCEPT/(order/)?EACCEPT)\.tracked.* rax=0x0\(expected 0xb\) .*FAIL)"
      R"(|CASE EMODPR/EMODPR:restricted:.* not_tracked=0x0\(expected 0xb\) .*FAIL)");
  return std::regex_match(line, expected);
}

class Paged : public testing::TestWithParam<std::tuple<EpcPaging, const char*>> {
 protected:
  static std::string payload() { return std::get<1>(GetParam()); }
  static EpcPaging how() { return std::get<0>(GetParam()); }

  /// What the guest finds with a frame for each page: registers, faults, codes, and what became of EPCM and memory.
  static const std::vector<std::string>& without_a_pager() {
    static std::map<std::string, std::vector<std::string>> known;
    std::vector<std::string>& lines = known[payload()];
    if (lines.empty()) {
      Setting setting = paged(EpcPaging::none, 0);
      setting.frames = 0;
      lines = run(setting).lines_with("CASE");
      EXPECT_FALSE(lines.empty());
    }
    return lines;
  }

  /// ENCLS exits by trapping alone.
  static Result run(Setting setting) {
    hypervisor::RunCounts counts{};
    setting.counts = &counts;
    auto result = run_payload(payload(), setting);
    EXPECT_TRUE(result) << result.error();
    if (!result) return {};
    EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
    const u64 exits = counts.exits[static_cast<std::size_t>(vmx::ExitReason::encls)];
    EXPECT_EQ(exits != 0, setting.frames != 0 && setting.paging == EpcPaging::trap);
    return std::move(*result);
  }
};

TEST_P(Paged, FindsWhatItWouldWithoutAPager) {
  const auto cases = run(paged(how(), 0)).lines_with("CASE");
  EXPECT_EQ(cases, without_a_pager());
  for (const std::string& line : cases) EXPECT_THAT(line, testing::EndsWith(" ok"));
}

/// All but time, and the one deviation of docs/configuration.md (epc_min). Once where it takes ten times as long.
TEST_P(Paged, AndInAStorm) {
  const bool slow = is_sanitized() || engine_under_test() == silicon::EngineKind::checked;
  for (unsigned seed = 1, last = slow ? 1 : 2; seed <= last; ++seed) {
    const Result result = run(paged(how(), seed));
    const auto cases = result.lines_with("CASE");
    ASSERT_EQ(cases.size(), without_a_pager().size());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (tracked_by_the_pager(cases[i])) continue;
      EXPECT_EQ(cases[i], without_a_pager()[i]);
    }
    EXPECT_GT(result.evictions, 1000u);
    EXPECT_GT(result.loads, 1000u);
  }
}

INSTANTIATE_TEST_SUITE_P(Payloads, Paged,
                         testing::Combine(testing::Values(EpcPaging::trap, EpcPaging::oss),
                                          testing::Values("sgx_build", "sgx_paging", "sgx_edmm", "sgx_enclave",
                                                          "sgx_random", "sgx_paging_hostile")),
                         [](const auto& tested) {
                           const bool trap = std::get<0>(tested.param) == EpcPaging::trap;
                           return (trap ? "trap_" : "oss_") + std::string(std::get<1>(tested.param));
                         });

/// The first generation has nothing to help a hypervisor. Under the deterministic clock, so twice the same.
TEST(PagedFirstGeneration, IsPagedByTrapping) {
  hypervisor::RunCounts counts{};
  const auto run = [&](u64 frames) {
    return run_payload("sgx1", {.epc_mib = 64, .features = first_generation(), .frames = frames, .counts = &counts});
  };
  const auto whole = run(0);
  const std::atomic<u64>& exits = counts.exits[static_cast<std::size_t>(vmx::ExitReason::encls)];
  const u64 hidden = exits;
  ASSERT_TRUE(whole);
  for (unsigned i = 0; i < 2; ++i) {
    const auto result = run(256);
    ASSERT_TRUE(result) << result.error();
    EXPECT_EQ(result->console, whole->console);
  }
  EXPECT_GT(exits, 3 * hidden);
}

}  // namespace
}  // namespace cloister::payload
