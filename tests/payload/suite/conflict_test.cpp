// Leaves that the hypervisor runs for a guest collide with the guest's own (SDM vol. 3D, 38.3): nobody sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine.hpp"

namespace cloister::payload {
namespace {

/// ECREATE runs in root mode for a domain without the provisioning key.
TEST(SgxConflict, WithTheHypervisorIsTriedAgain) {
  hypervisor::RunCounts counts{};
  const std::atomic<u64>& conflicts = counts.exits[static_cast<std::size_t>(vmx::ExitReason::sgx_conflict)];
  constexpr int most_runs = 300;  // of 5,000 creations each, for a host that runs one thread at a time
  for (int i = 0; i < most_runs && conflicts == 0; ++i) {
    const auto result = run_payload(
        "sgx_conflict",
        {.epc_mib = 1, .clock = silicon::ClockMode::host, .vcpus = 2, .sgx_provision = false, .counts = &counts});
    ASSERT_TRUE(result) << result.error();
    EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
    EXPECT_THAT(result->lines_with("CASE"), testing::ElementsAre(testing::EndsWith(" ok"))) << result->console;
  }
  EXPECT_GT(conflicts, 0u) << "they never met: nothing was tested";
}

}  // namespace
}  // namespace cloister::payload
