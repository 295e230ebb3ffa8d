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

TEST(RunStats, AnEngineThatTranslatesSaysHowMuch) {
  EXPECT_EQ(engine_line(Engine::interpreter, {.interpreted = 7}), "engine: interpreter");
  vmx::Execution both{
      .translated = 900, .by_handler = 70, .interpreted = 20, .blocks = 12, .code_bytes = 3000, .flushes = 1};
  both += vmx::Execution{.translated = 5, .by_handler = 0, .interpreted = 5, .blocks = 3, .code_bytes = 1096};
  EXPECT_EQ(engine_line(Engine::compiler, both),
            "engine: compiler, 15 blocks in 4 KiB of code, 1 flushes; of the instructions 90.5 % translated, "
            "7.0 % by handlers, 2.5 % interpreted");
  EXPECT_EQ(engine_line(Engine::compiler, {}),
            "engine: compiler, 0 blocks in 0 KiB of code, 0 flushes; of the instructions 0.0 % translated, "
            "0.0 % by handlers, 0.0 % interpreted");
}

}  // namespace
}  // namespace cloister::toolstack
