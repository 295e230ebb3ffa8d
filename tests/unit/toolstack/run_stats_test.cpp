// Each count of --stats is the one that its name says.
#include "run/run_stats.hpp"

#include <gtest/gtest.h>

#include "silicon/sgx/epc/diagnostics.hpp"

namespace cloister::toolstack {
namespace {

TEST(RunStats, EachCountHasItsName) {
  silicon::diagnostics::Events events;
  for (std::size_t i = 0; i < events.encls.size(); ++i) events.encls[i] = 100 + i;
  for (std::size_t i = 0; i < events.enclu.size(); ++i) events.enclu[i] = 200 + i;
  events.asynchronous_exits = 300;
  // SDM vol. 3D, 38.3 and 38.4: EENTER is leaf 2 of ENCLU; EADD 1, EAUG 0DH, EWB 0BH and ELDU 8 of ENCLS.
  EXPECT_EQ(sgx_line(events), "SGX: 202 EENTER, 300 AEX, 101 EADD, 113 EAUG, 111 EWB, 108 ELDU");
}

TEST(RunStats, SpeedIsInstructionsByTime) {
  EXPECT_EQ(speed_line(3'000'000, std::chrono::milliseconds(1500)),
            "3000000 guest instructions in 1.500 s, 2.0 million a second");
  EXPECT_EQ(speed_line(1, std::chrono::seconds(0)), "1 guest instructions in 0.000 s, 0.0 million a second");
}

}  // namespace
}  // namespace cloister::toolstack
