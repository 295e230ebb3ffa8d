// The waits between a guest's restarts, and their end.
#include "plan/restarts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace cloister::toolstack {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

constexpr Restarts::Clock::time_point start{1h};

/// Of a guest that ends as soon as it starts; -1: no more restarts.
std::vector<long> waits(Restarts& restarts, int tries) {
  std::vector<long> all;
  auto now = start;
  for (int i = 0; i < tries; ++i) {
    const auto wait = restarts.next(now);
    all.push_back(wait ? static_cast<long>(wait->count()) : -1);
    now += wait.value_or(0s);
  }
  return all;
}

TEST(Restarts, WaitLongerAndEnd) {
  Restarts restarts(10, 300s);
  EXPECT_THAT(waits(restarts, 12), ElementsAre(0, 0, 0, 1, 2, 4, 8, 16, 32, 32, -1, -1));
  EXPECT_EQ(restarts.why_not(), "restarted 10 times within 300 s (restart_limit, restart_window)");
}

TEST(Restarts, CountOnlyThoseOfTheWindow) {
  Restarts restarts(2, 60s);
  EXPECT_EQ(restarts.next(start), 0s);
  EXPECT_EQ(restarts.next(start + 30s), 0s);
  EXPECT_FALSE(restarts.next(start + 59s));
  EXPECT_EQ(restarts.next(start + 60s), 0s);
  EXPECT_FALSE(restarts.next(start + 89s));
  EXPECT_EQ(restarts.next(start + 90s), 0s);
}

TEST(Restarts, WithoutALimitOnlyWait) {
  Restarts restarts(0, 10s);
  const auto all = waits(restarts, 1000);
  EXPECT_EQ(testing::Value(all, testing::Contains(-1)), false);
  EXPECT_GT(std::ranges::count_if(all, [](long wait) { return wait != 0; }), 500);
}

TEST(Restarts, AskForAWaitOnlyWhereThereIsOne) {
  Restarts restarts(4, 300s);
  std::vector<std::string> asked;
  bool goes_on = true;
  const auto next = [&] {
    return restarts.wait_for_next([&](const std::string& why) { asked.push_back(why); },
                                  [&](std::chrono::seconds wait) {
                                    asked.push_back(std::to_string(wait.count()));
                                    return goes_on;
                                  });
  };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(next());
  EXPECT_TRUE(asked.empty());
  goes_on = false;
  EXPECT_FALSE(next()) << "ended while it waited";
  goes_on = true;
  EXPECT_FALSE(next());
  EXPECT_THAT(asked, ElementsAre("1", "restarted 4 times within 300 s (restart_limit, restart_window)"));
}

TEST(Restarts, AreNoneWithALimitThatIsReached) {
  Restarts restarts(1, 1s);
  EXPECT_THAT(waits(restarts, 2), ElementsAre(0, -1));
}

}  // namespace
}  // namespace cloister::toolstack
