// In which order domains are started since the host came up, and when.
#include "daemon/start_schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "verbs/start_delay.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using ::testing::ElementsAre;

using Clock = Restarts::Clock;
using std::chrono::seconds;

PendingStart one(const std::string& uuid, u32 delay = 0, u32 limit = 10) {
  return {.uuid = uuid, .name = uuid, .delay_seconds = delay, .restart_limit = limit, .restart_window = 300};
}

class Schedule : public testing::Test {
 protected:
  const Clock::time_point start_ = Clock::now();
  Clock::time_point at(int time) const { return start_ + seconds(time); }
  /// Its uuid.
  static std::optional<std::string> next(auto& schedule, Clock::time_point now) {
    const std::optional<PendingStart> found = schedule.next(now);
    return found ? std::optional(found->uuid) : std::nullopt;
  }
};

TEST_F(Schedule, HasOneAfterTheOther) {
  StartSchedule schedule({one("a"), one("b")});
  EXPECT_EQ(next(schedule, at(0)), "a");
  EXPECT_EQ(next(schedule, at(0)), "b") << "without a delay it need not have started";
  EXPECT_EQ(next(schedule, at(0)), std::nullopt);
  EXPECT_EQ(schedule.next_time(), std::nullopt);
  schedule.started("b", at(1));
  EXPECT_FALSE(schedule.done());
  schedule.started("a", at(1));
  EXPECT_TRUE(schedule.done());
}

TEST_F(Schedule, WaitsForTheDelayOfTheOneBefore) {
  StartSchedule schedule({one("a", 5), one("b")});
  EXPECT_EQ(next(schedule, at(0)), "a");
  EXPECT_EQ(next(schedule, at(9)), std::nullopt) << "it has not started";
  EXPECT_EQ(schedule.next_time(), std::nullopt);
  schedule.started("a", at(10));
  EXPECT_EQ(next(schedule, at(14)), std::nullopt);
  EXPECT_EQ(schedule.next_time(), at(15));
  EXPECT_EQ(next(schedule, at(15)), "b");
}

TEST_F(Schedule, WaitsForTheDelayThatAnEarlierDaemonBegan) {
  StartSchedules schedule({one("a"), one("b")}, 4, {{0, at(7)}});
  EXPECT_EQ(next(schedule, at(6)), std::nullopt);
  EXPECT_EQ(schedule.next_time(), at(7));
  EXPECT_EQ(next(schedule, at(7)), "a");
  StartSchedules others({one("a", 5)}, 4, {{1, at(7)}});
  EXPECT_EQ(next(others, at(0)), "a") << "another user's delay";
  EXPECT_EQ(others.started(one("a", 5), at(1)), at(6));
}

TEST_F(Schedule, OneThatFailsIsTriedAgainBesideTheRest) {
  StartSchedule schedule({one("a", 5), one("b", 0, 4)});
  EXPECT_EQ(next(schedule, at(0)), "a");
  EXPECT_TRUE(schedule.failed("a", at(1)));
  EXPECT_EQ(next(schedule, at(1)), "b") << "there is no start to wait after, and it was never tried";
  EXPECT_EQ(next(schedule, at(1)), "a") << "at once, the first times";
  int tries = 1;
  auto now = at(1);
  while (schedule.failed("b", now)) {
    now = *schedule.next_time();
    EXPECT_EQ(next(schedule, now), "b");
    ++tries;
  }
  EXPECT_EQ(tries, 5) << "the first, and as many as its limit";
  EXPECT_EQ(now, at(2)) << "three at once, then a second";
  EXPECT_FALSE(schedule.done());
  schedule.started("a", now);
  EXPECT_TRUE(schedule.done());
}

/// Also where those wait for an order, a delay, or a start that takes its time: a start that fails does so at once, and
/// would have used up its tries before.
TEST_F(Schedule, OneThatFailsIsTriedAgainBehindThoseThatWereNotTried) {
  StartSchedules schedule({one("bad", 0, 1), one("slow", 5), one("late", 60), one("last")}, 1);
  const auto all = [&](const std::string& uuid) { return one(uuid, uuid == "slow" ? 5 : uuid == "late" ? 60 : 0, 1); };
  EXPECT_EQ(next(schedule, at(0)), "bad");
  EXPECT_TRUE(schedule.failed(all("bad"), at(0)));
  EXPECT_EQ(next(schedule, at(0)), "slow");
  schedule.started(all("slow"), at(1));
  EXPECT_EQ(next(schedule, at(1)), std::nullopt) << "two of them were never tried";
  EXPECT_EQ(schedule.next_time(), at(6));
  EXPECT_EQ(next(schedule, at(6)), "late");
  EXPECT_EQ(schedule.next_time(), std::nullopt);
  schedule.started(all("late"), at(7));
  EXPECT_EQ(next(schedule, at(66)), std::nullopt);
  EXPECT_EQ(next(schedule, at(67)), "last");
  EXPECT_EQ(next(schedule, at(67)), std::nullopt) << "one at a time";
  schedule.started(all("last"), at(68));
  EXPECT_EQ(schedule.next_time(), at(0)) << "it has been due for long";
  EXPECT_EQ(next(schedule, at(68)), "bad");
  EXPECT_FALSE(schedule.failed(all("bad"), at(68)));
  EXPECT_TRUE(schedule.done());
}

TEST_F(Schedule, OneThatFailsWaitsForAStartThatHolds) {
  StartSchedule schedule({one("bad"), one("holds", 5), one("last")});
  EXPECT_EQ(next(schedule, at(0)), "bad");
  EXPECT_EQ(next(schedule, at(0)), "holds");
  EXPECT_TRUE(schedule.failed("bad", at(1)));
  EXPECT_EQ(next(schedule, at(9)), std::nullopt);
  EXPECT_EQ(schedule.next_time(), std::nullopt);
  EXPECT_TRUE(schedule.failed("holds", at(9)));
  EXPECT_EQ(next(schedule, at(9)), "last");
  EXPECT_EQ(next(schedule, at(9)), "bad");
  EXPECT_EQ(next(schedule, at(9)), "holds");
}

/// Whose every start hangs, or who says that the next one comes late.
TEST_F(Schedule, OfOneUserHoldsUpNoOther) {
  constexpr unsigned other = 7;
  std::vector<PendingStart> all{one("slow"), one("never"), one("third", longest_start_delay), one("web", 5), one("db")};
  for (std::size_t i = 0; i < 3; ++i) all[i].user = other;
  StartSchedules schedule(all, 2);
  EXPECT_EQ(schedule.most(), 4u);
  std::vector<std::string> first;
  while (const auto what = next(schedule, at(0))) first.push_back(*what);
  EXPECT_THAT(first, testing::UnorderedElementsAre("slow", "never", "web")) << "two of a user's, and one with a delay";
  schedule.started(all[3], at(1));
  EXPECT_EQ(schedule.next_time(), at(6));
  EXPECT_EQ(next(schedule, at(6)), "db");
  EXPECT_TRUE(schedule.failed(all[0], at(6)));
  EXPECT_EQ(next(schedule, at(6)), "third");
  EXPECT_EQ(next(schedule, at(6)), std::nullopt);
}

TEST_F(Schedule, OneThatIsHeldWasNotTried) {
  StartSchedule schedule({one("a", 0, 0), one("b", 0, 1)});
  EXPECT_EQ(next(schedule, at(0)), "a");
  schedule.held("a");
  EXPECT_EQ(next(schedule, at(1)), "a");
  EXPECT_EQ(next(schedule, at(1)), "b");
  EXPECT_TRUE(schedule.failed("b", at(1)));
  EXPECT_EQ(next(schedule, at(1)), "b");
  schedule.held("b");
  EXPECT_EQ(next(schedule, at(2)), "b");
  EXPECT_FALSE(schedule.failed("b", at(2))) << "that was its last";
}

/// With fewer threads than there are domains to start.
TEST_F(Schedule, UsersTakeTurns) {
  std::vector<PendingStart> all{one("a"), one("b"), one("c"), one("d")};
  for (std::size_t i : {2u, 3u}) all[i].user = 7;
  StartSchedules schedule(all, 2);
  std::vector<unsigned> whose;
  while (const auto what = schedule.next(at(0))) whose.push_back(what->user);
  EXPECT_THAT(whose, testing::AnyOf(ElementsAre(0, 7, 0, 7), ElementsAre(7, 0, 7, 0)));
}

TEST_F(Schedule, OfNoneIsDone) { EXPECT_TRUE(StartSchedule({}).done()); }

}  // namespace
}  // namespace cloister::tests
