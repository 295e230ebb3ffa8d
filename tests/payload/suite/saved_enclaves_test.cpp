// Payloads that build enclaves, enter, leave and page them, in domains that are saved alive while they run and go on
// elsewhere (hypervisor/saving/enclaves.hpp): with an EPC that has a frame for each page, and one
// that is paged in either mode. Threads are inside, pages are pending, modified, blocked, evicted by the guest and by
// the hypervisor.
#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>

#include "machine.hpp"

namespace cloister::payload {
namespace {

using hypervisor::EpcPaging;

/// So many times, or a few more, each payload is saved.
constexpr u64 saves = 20;

bool is_slow() {
  return engine_under_test() != silicon::EngineKind::compiler && std::getenv("CLOISTER_FULL") == nullptr;
}

/// All EPC has been blocked and tracked on the way, of which docs/configuration.md (epc_min) tells what can be seen.
bool tracked_by_the_hypervisor(const std::string& line) {
  static const std::regex expected(
      R"(CASE (EWB/(order/)?EWB|EACCEPT/(order/)?EACCEPT)\.tracked.* rax=0x0\(expected 0xb\) .*FAIL)"
      R"(|CASE EMODPR/EMODPR:restricted:.* not_tracked=0x0\(expected 0xb\) .*FAIL)");
  return std::regex_match(line, expected);
}

using Parameters = std::tuple<EpcPaging, const char*>;

std::string name_of(const testing::TestParamInfo<Parameters>& tested) {
  const auto& [how, payload] = tested.param;
  return std::string(how == EpcPaging::none ? "fixed_" : how == EpcPaging::trap ? "trap_" : "oss_") + payload;
}

/// An unbroken run, and one that is saved on its way, find the same.
void expect_same(const char* payload, Setting setting, const Result& whole) {
  const auto parts = run_payload(payload, setting);
  ASSERT_TRUE(parts) << parts.error();
  EXPECT_GT(parts->saved, saves / 2);
  EXPECT_EQ(parts->outcome.ending, hypervisor::Ending::powered_off) << parts->outcome.report;
  const auto expected = whole.lines_with("CASE"), found = parts->lines_with("CASE");
  ASSERT_EQ(found.size(), expected.size()) << parts->console;
  ASSERT_FALSE(found.empty());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (tracked_by_the_hypervisor(found[i])) continue;
    EXPECT_EQ(found[i], expected[i]);
  }
}

Setting setting_for(EpcPaging how) {
  Setting setting{.epc_mib = 64, .paging = how, .cpuid = {{"sgx-eupdatesvn", true}}};
  if (how != EpcPaging::none) setting.frames = 256;
  return setting;
}

class SavedEnclaves : public testing::TestWithParam<Parameters> {};

TEST_P(SavedEnclaves, GoOnOrComeBack) {
  const auto& [how, payload] = GetParam();
  Setting setting = setting_for(how);
  setting.turn_alone = 997;
  const auto whole = run_payload(payload, setting);
  ASSERT_TRUE(whole) << whole.error();
  ASSERT_EQ(whole->outcome.ending, hypervisor::Ending::powered_off) << whole->outcome.report;
  setting.alive = true;
  setting.save_after = whole->rounds / saves + 1;
  expect_same(payload, setting, *whole);
  setting.comes_back = true;
  expect_same(payload, setting, *whole);
}
INSTANTIATE_TEST_SUITE_P(Payloads, SavedEnclaves,
                         testing::Combine(testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss),
                                          testing::Values("sgx", "sgx_random", "sgx_launch", "sgx_balloon")),
                         name_of);

/// Enclaves with AVX, whose threads are inside, or have their YMM registers in a frame.
TEST(SavedEnclavesWithAvx, GoOnOrComeBack) {
  if (!offers_avx()) GTEST_SKIP() << "no AVX2 on this host";
  Setting setting = setting_for(EpcPaging::oss);
  setting.cpuid.push_back({"avx", true});
  setting.turn_alone = 997;
  const auto whole = run_payload("sgx_avx", setting);
  ASSERT_TRUE(whole) << whole.error();
  ASSERT_EQ(whole->outcome.ending, hypervisor::Ending::powered_off) << whole->outcome.report;
  setting.alive = true;
  setting.save_after = whole->rounds / saves + 1;
  expect_same("sgx_avx", setting, *whole);
  setting.comes_back = true;
  expect_same("sgx_avx", setting, *whole);
}

/// The check lists of all leaves, for which a second processor does something meanwhile.
class SavedChecks : public testing::TestWithParam<Parameters> {};

TEST_P(SavedChecks, FindWhatTheyWouldUnbroken) {
  if (is_slow()) GTEST_SKIP() << "takes long: with CLOISTER_FULL";
  const auto& [how, payload] = GetParam();
  Setting setting = setting_for(how);
  setting.clock = silicon::ClockMode::host;
  setting.vcpus = 2;
  hypervisor::RunCounts counts{};
  setting.counts = &counts;
  const auto whole = run_payload(payload, setting);
  ASSERT_TRUE(whole) << whole.error();
  ASSERT_EQ(whole->outcome.ending, hypervisor::Ending::powered_off) << whole->outcome.report;
  u64 exits = 0;
  for (const auto& count : counts.exits) exits += count;
  setting.counts = nullptr;
  setting.alive = true;
  setting.save_after = exits / saves + 1;
  expect_same(payload, setting, *whole);
  setting.comes_back = true;
  expect_same(payload, setting, *whole);
}
INSTANTIATE_TEST_SUITE_P(Payloads, SavedChecks,
                         testing::Combine(testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss),
                                          testing::Values("sgx_build", "sgx_paging", "sgx_edmm", "sgx_enclave",
                                                          "sgx_paging_hostile")),
                         name_of);

}  // namespace
}  // namespace cloister::payload
