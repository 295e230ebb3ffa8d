// The check lists of SGX's leaves, and enclaves that are entered, left and paged, in domains that are saved alive while
// they run and go on elsewhere (hypervisor/saving/enclaves.hpp): with an EPC that has a frame for each page, and one
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

/// Turns of two processors, one of which waits for the other most of the time, take long.
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

class SavedEnclaves : public testing::TestWithParam<std::tuple<EpcPaging, const char*>> {
 protected:
  static void expect_same(bool comes_back);
};

void SavedEnclaves::expect_same(bool comes_back) {
  if (is_slow()) GTEST_SKIP() << "takes long: with CLOISTER_FULL";
  const auto& [how, payload] = GetParam();
  Setting setting{.epc_mib = 64, .vcpus = 2, .paging = how, .cpuid = {{"sgx-eupdatesvn", true}}};
  if (how != EpcPaging::none) setting.frames = 256;
  const auto whole = run_payload(payload, setting);
  ASSERT_TRUE(whole) << whole.error();
  ASSERT_EQ(whole->outcome.ending, hypervisor::Ending::powered_off) << whole->outcome.report;
  setting.alive = true;
  setting.comes_back = comes_back;
  setting.save_after = whole->rounds / saves + 1;
  const auto parts = run_payload(payload, setting);
  ASSERT_TRUE(parts) << parts.error();
  EXPECT_GT(parts->saved, saves / 2);
  RecordProperty("saved", std::to_string(parts->saved));
  EXPECT_EQ(parts->outcome.ending, hypervisor::Ending::powered_off) << parts->outcome.report;
  const auto expected = whole->lines_with("CASE"), found = parts->lines_with("CASE");
  ASSERT_EQ(found.size(), expected.size()) << parts->console;
  ASSERT_FALSE(found.empty());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (tracked_by_the_hypervisor(found[i])) continue;
    EXPECT_EQ(found[i], expected[i]);
  }
}

TEST_P(SavedEnclaves, GoOn) { expect_same(false); }
TEST_P(SavedEnclaves, ComeBackIfTheyGoNowhere) { expect_same(true); }

INSTANTIATE_TEST_SUITE_P(Payloads, SavedEnclaves,
                         testing::Combine(testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss),
                                          testing::Values("sgx_build", "sgx_paging", "sgx_edmm", "sgx_enclave",
                                                          "sgx_random", "sgx_paging_hostile")),
                         [](const auto& tested) {
                           const EpcPaging how = std::get<0>(tested.param);
                           return std::string(how == EpcPaging::none   ? "fixed_"
                                              : how == EpcPaging::trap ? "trap_"
                                                                       : "oss_") +
                                  std::get<1>(tested.param);
                         });

}  // namespace
}  // namespace cloister::payload
