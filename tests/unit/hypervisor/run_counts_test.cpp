// What a domain did so far: exits are counted by reason, whatever the reason is.
#include <gtest/gtest.h>

#include "hypervisor/domain.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

TEST(RunCountsTest, CountsEveryReasonInItsPlaceAndNoneElsewhere) {
  struct {
    RunCounts counts{};
    std::array<std::atomic<u64>, 8> behind{};
  } page;
  for (unsigned reason = 0; reason <= 0xffff; ++reason) page.counts.count(static_cast<silicon::ExitReason>(reason));
  for (const auto& count : page.counts.exits) EXPECT_EQ(count, 1u);
  for (const auto& word : page.behind) EXPECT_EQ(word, 0u);
  EXPECT_EQ(page.counts.instructions, 0u);
  EXPECT_GT(page.counts.exits.size(), static_cast<std::size_t>(silicon::ExitReason::sgx_conflict));
}

}  // namespace
}  // namespace cloister::hypervisor
