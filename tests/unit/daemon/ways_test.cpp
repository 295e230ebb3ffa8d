// Ways through the table of a domain's states, each seen to be the one that is taken; together they are the table.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <ostream>

#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {

void PrintTo(const LifeStep& step, std::ostream* out) {
  *out << static_cast<int>(step.from) << " -" << static_cast<int>(step.event) << "-> " << static_cast<int>(step.to);
}

}  // namespace cloister::toolstack

namespace cloister::tests {
namespace {

using enum LifeState;
using enum LifeEvent;

/// What a daemon leaves to the next.
struct Left {
  bool running = true;  ///< what the record says
  bool dead = false, blind = false, mute = false;
};

struct Way {
  const char* name;
  LifeState first;
  std::vector<LifeEvent> events;
  void (*go)(TestDaemon&);
};

void begin(TestDaemon& daemon) {
  daemon.restart();
  daemon.steps();
}

/// A daemon that has found a domain; its steps are those that are looked at.
void find(TestDaemon& daemon, const Left& left) {
  daemon.restart();
  const auto added = daemon.add("a");
  ASSERT_TRUE(added) << added.error().message;
  daemon.stop();
  daemon.steps();
  daemon.change_record([&](DomainRecord& record) { record.running = left.running; });
  daemon.sight.blind = left.blind;
  daemon.mute(left.mute);
  if (left.dead) {
    ::kill(added->pid, SIGKILL);
    ::waitpid(added->pid, nullptr, 0);
  }
  daemon.restart();
}

void kill_and_reap(TestDaemon& daemon) {
  const int vmm = daemon.record().process->pid;
  ::kill(vmm, SIGKILL);
  ::waitpid(vmm, nullptr, 0);
}

const Way ways[] = {
    {"CreatedAndDestroyed",
     admitted,
     {started, launched, died, cleaned},
     [](TestDaemon& daemon) {
       begin(daemon);
       EXPECT_TRUE(daemon.add("a"));
       EXPECT_TRUE(daemon->destroy("a"));
     }},
    {"NoVmm",
     admitted,
     {died, cleaned},
     [](TestDaemon& daemon) {
       begin(daemon);
       daemon.faults.fail(4);
       EXPECT_FALSE(daemon.add("a"));
     }},
    {"Refused",
     admitted,
     {started, died, cleaned},
     [](TestDaemon& daemon) {
       begin(daemon);
       EXPECT_FALSE(daemon.add("a", "refuses"));
     }},
    {"Found",
     lost,
     {held, answered, died, cleaned},
     [](TestDaemon& daemon) {
       find(daemon, {});
       EXPECT_TRUE(daemon->destroy("a"));
     }},
    {"FoundMute",
     lost,
     {held, died, cleaned},
     [](TestDaemon& daemon) {
       find(daemon, {.mute = true});
       EXPECT_TRUE(daemon->destroy("a"));
     }},
    {"DoesNotAnswer",
     admitted,
     {started, launched, unanswered, answered, died, cleaned},
     [](TestDaemon& daemon) {
       daemon.patience.verb = std::chrono::milliseconds(200);
       begin(daemon);
       const auto added = daemon.add("a");
       ASSERT_TRUE(added) << added.error().message;
       ::kill(added->pid, SIGSTOP);
       const auto told = daemon->tell("a", *find_guest_verb("pause"), nlohmann::json::object());
       ASSERT_FALSE(told);
       EXPECT_EQ(told.error().status, 500);
       EXPECT_EQ(daemon.shown("a"), "unresponsive");
       ::kill(added->pid, SIGCONT);
       daemon.wait_until("a", "running");
       EXPECT_NE(daemon->find("a")->page, nullptr);
       EXPECT_TRUE(daemon->destroy("a"));
     }},
    {"FoundDead", lost, {died, cleaned}, [](TestDaemon& daemon) { find(daemon, {.dead = true}); }},
    {"FoundLate",
     lost,
     {held, answered, died, cleaned},
     [](TestDaemon& daemon) {
       find(daemon, {.blind = true});
       daemon.sight.blind = false;
       daemon.wait_until("a", "running");
       EXPECT_TRUE(daemon->destroy("a"));
     }},
    {"FoundDeadLate",
     lost,
     {died, cleaned},
     [](TestDaemon& daemon) {
       find(daemon, {.blind = true});
       kill_and_reap(daemon);
       daemon.sight.blind = false;
       daemon.wait_until("a", "");
     }},
    {"LaunchFound", launch_lost, {held, died, cleaned}, [](TestDaemon& daemon) { find(daemon, {.running = false}); }},
    {"LaunchFoundDead",
     launch_lost,
     {died, cleaned},
     [](TestDaemon& daemon) { find(daemon, {.running = false, .dead = true}); }},
    {"LaunchFoundLate",
     launch_lost,
     {held, died, cleaned},
     [](TestDaemon& daemon) {
       find(daemon, {.running = false, .blind = true});
       daemon.sight.blind = false;
       daemon.wait_until("a", "");
     }},
};

std::vector<LifeStep> steps_of(const Way& way) {
  std::vector<LifeStep> steps;
  LifeState state = way.first;
  for (const LifeEvent event : way.events) {
    const LifeState next = state_after(state, event).value();
    steps.push_back({state, event, next});
    state = next;
  }
  return steps;
}

class Ways : public testing::TestWithParam<Way> {};

TEST_P(Ways, AreTaken) {
  const Folder folder;
  TestDaemon daemon(folder.path());
  GetParam().go(daemon);
  const std::vector<LifeStep> taken = daemon.steps();
  EXPECT_EQ(taken, steps_of(GetParam()));
  while (::waitpid(-1, nullptr, 0) > 0) continue;
  EXPECT_EQ(daemon.left(), "");
}

std::string way_name(const testing::TestParamInfo<Way>& way) { return way.param.name; }
INSTANTIATE_TEST_SUITE_P(All, Ways, testing::ValuesIn(ways), way_name);

TEST(WaysTogether, AreTheTable) {
  for (const LifeStep& step : life_steps) {
    EXPECT_TRUE(std::ranges::any_of(ways, [&](const Way& way) { return std::ranges::count(steps_of(way), step) != 0; }))
        << testing::PrintToString(step);
  }
}

}  // namespace
}  // namespace cloister::tests
