// EPC that the hypervisor pages is EPC: the check lists of all leaves, and what the other payloads find, are as with a
// frame for each page, while a storm evicts pages after each exit.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "machine.hpp"

namespace cloister::payload {
namespace {

Setting paged(unsigned storm) {
  return {.epc_mib = 64,
          .clock = silicon::ClockMode::host,
          .vcpus = 2,
          .frames = 256,
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

/// How many lines say that the pager's tracking was seen.
std::size_t expect_good(const tl::expected<Result, std::string>& result) {
  if (!result) ADD_FAILURE() << result.error();
  if (!result) return 0;
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  std::size_t seen = 0;
  for (const std::string& line : result->lines_with("CASE")) {
    if (tracked_by_the_pager(line)) {
      ++seen;
    } else {
      EXPECT_THAT(line, testing::EndsWith(" ok"));
    }
  }
  EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith(fmt::format(" failures={}", seen))))
      << result->console;
  return seen;
}

class Paged : public testing::TestWithParam<const char*> {};

TEST_P(Paged, FindsWhatItWouldWithoutAPager) { EXPECT_EQ(expect_good(run_payload(GetParam(), paged(0))), 0u); }

/// All but time, and the one deviation of docs/hypervisor.md.
TEST_P(Paged, AndInAStorm) {
  const auto result = run_payload(GetParam(), paged(1));
  expect_good(result);
  ASSERT_TRUE(result);
  EXPECT_GT(result->evictions, 1000u);
  EXPECT_GT(result->loads, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Payloads, Paged, testing::Values("sgx_build", "sgx_paging", "sgx_edmm", "sgx_enclave"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace cloister::payload
