// The host goes down, and comes up as another start of it: what is started again, in which order, and what a daemon
// that dies meanwhile leaves to the next.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>

#include "daemon/autostart.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class HostTurns : public testing::Test {
 protected:
  HostTurns() {
    boot("first");
    daemon_.restart();
  }
  ~HostTurns() override { ::unsetenv("CLOISTER_TEST_BOOT_ID"); }

  static void boot(const char* id) { ::setenv("CLOISTER_TEST_BOOT_ID", id, 1); }

  void define(const std::string& name, Autostart word, u32 order = 0, const std::string& more = "") {
    ASSERT_TRUE(daemon_.define(name, more));
    ASSERT_TRUE(daemon_->change(name, {.autostart = word, .order = order}));
  }
  void define_all() {
    for (const char* name : {"on", "last", "off"}) define(name, *read_autostart(name));
  }
  void start(const std::string& name) { ASSERT_TRUE(daemon_->start(name, false)); }

  /// All processes of the host die, and it starts anew.
  void power_cut(const char* next) {
    std::vector<int> vmms;
    for (const DomainInfo& domain : daemon_->list()) vmms.push_back(domain.pid);
    daemon_.stop();
    for (const int pid : vmms) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    boot(next);
    daemon_.restart();
  }
  std::vector<std::string> pending() const {
    std::vector<std::string> names;
    for (const PendingStart& one : daemon_->autostart().pending) names.push_back(one.name);
    return names;
  }
  std::vector<std::string> alive() const {
    std::vector<std::string> names;
    for (const DomainInfo& domain : daemon_->list()) names.push_back(domain.name);
    return names;
  }
  void start_pending() {
    const AutostartThreads threads(*daemon_, 2);
    wait_for([&] { return daemon_->autostart().pending.empty(); });
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(HostTurns, StartsByTheirWords) {
  define_all();
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("on")) << "the last one did not run";
  start_pending();
  EXPECT_THAT(alive(), ElementsAre("on"));
  start("last");
  start("off");
  power_cut("third");
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
  start_pending();
  EXPECT_THAT(alive(), testing::UnorderedElementsAre("last", "on"));
  EXPECT_EQ(daemon_.shown("off"), "shut off");
}

TEST_F(HostTurns, OfTheSameStartNothingFollows) {
  define_all();
  start("last");
  daemon_.restart();
  EXPECT_THAT(pending(), IsEmpty());
  EXPECT_THAT(alive(), ElementsAre("last"));
  // Nor of a state folder that knows no start yet: an earlier version's.
  daemon_.stop();
  std::filesystem::remove(daemon_.paths.host_record());
  daemon_.restart();
  EXPECT_THAT(pending(), IsEmpty());
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
}

TEST_F(HostTurns, ThoseThatWereEndedBeforeItWentDownRan) {
  define_all();
  start("last");
  start("off");
  const auto stopping = daemon_->host_down().domains;
  EXPECT_EQ(stopping.size(), 2u);
  for (const Stopping& one : stopping) ASSERT_TRUE(daemon_->destroy(one.domain.name));
  EXPECT_EQ(daemon_->host_down().not_noted, "") << "by somebody who asks again";
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
  power_cut("third");
  EXPECT_THAT(pending(), ElementsAre("last", "on")) << "it was to run";
}

TEST_F(HostTurns, ItDidNotGoDownAfterAll) {
  define_all();
  start("last");
  daemon_->host_down();
  ASSERT_TRUE(daemon_->destroy("last"));
  ASSERT_TRUE(daemon_->host_up());
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("on"));
}

TEST_F(HostTurns, EndsInTheReverseOfTheirOrder) {
  define("first", Autostart::on, 1);
  define("second", Autostart::on, 2, "on_host_shutdown = \"destroy\"\nshutdown_timeout = 7\n");
  for (const char* name : {"second", "first"}) start(name);
  ASSERT_TRUE(daemon_.add("transient"));
  const auto stopping = daemon_->host_down().domains;
  std::vector<std::string> names;
  for (const Stopping& one : stopping) names.push_back(one.domain.name);
  EXPECT_THAT(names, ElementsAre("second", "first", "transient"));
  EXPECT_EQ(stopping.front().shutdown_timeout, 7u);
  EXPECT_EQ(stopping.front().how, HostShutdown::destroy);
}

/// Until it is said to stay: neither by who asks for it nor by itself, also by a daemon that starts meanwhile. What was
/// not started then was not tried.
TEST_F(HostTurns, NothingStartsWhileItGoesDown) {
  define("on", Autostart::on, 0, "restart_limit = 0\n");
  define("hand", Autostart::off);
  power_cut("second");
  daemon_->host_down();
  for (int daemon = 0; daemon < 2; ++daemon) {
    const AutostartThreads threads(*daemon_, 2);
    for (const auto& refused : {daemon_->start("hand", false), daemon_.add("transient"), daemon_->start("on", false)}) {
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().status, 503);
      EXPECT_THAT(refused.error().message, HasSubstr("the host goes down"));
    }
    EXPECT_TRUE(daemon_->define({.name = "hand", .as = daemon_.request("hand")})) << "it may be changed";
    if (daemon == 0) continue;
    EXPECT_TRUE(daemon_->autostart().going_down);
    ASSERT_TRUE(daemon_->host_up());
    wait_for([&] { return daemon_->autostart().pending.empty(); });
  }
  EXPECT_THAT(alive(), ElementsAre("on"));
  EXPECT_TRUE(daemon_->start("hand", false));
}

TEST_F(HostTurns, OneThatWentDownAndIsUpAgainStarts) {
  define_all();
  start("last");
  daemon_->host_down();
  power_cut("second");
  EXPECT_FALSE(daemon_->going_down());
  start_pending();
  EXPECT_THAT(alive(), testing::UnorderedElementsAre("last", "on"));
}

/// On a full disk all are to be ended as well; the operator is told what is not known then.
TEST_F(HostTurns, GoesDownWhenItCannotBeWrittenDown) {
  define_all();
  start("last");
  daemon_.faults.full = true;
  const HostDown down = daemon_->host_down();
  EXPECT_EQ(down.domains.size(), 1u);
  EXPECT_EQ(down.not_noted, "planted");
  ASSERT_TRUE(daemon_->destroy("last"));
  EXPECT_THAT(daemon_->start("off", false).error().message, HasSubstr("the host goes down"));
  EXPECT_EQ(daemon_->host_down().not_noted, "planted");
  daemon_.faults.full = false;
  EXPECT_EQ(daemon_->host_down().not_noted, "") << "there is room again";
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
  daemon_->host_down();
  daemon_.faults.full = true;
  EXPECT_THAT(daemon_->host_up().error().message, HasSubstr("planted"));
  daemon_.faults.full = false;
  EXPECT_TRUE(daemon_->start("off", false));
}

TEST_F(HostTurns, IsLeftToTheNextDaemon) {
  define("a", Autostart::on, 2);
  define("b", Autostart::on, 1);
  define("c", Autostart::on, 3);
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("b", "a", "c"));
  ASSERT_TRUE(daemon_->start("b", false));  // by hand is as good
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("a", "c"));
  ASSERT_TRUE(daemon_->undefine("a"));
  ASSERT_TRUE(daemon_->change("c", {.autostart = Autostart::off}));
  EXPECT_THAT(pending(), IsEmpty());
}

TEST_F(HostTurns, OneThatCannotStartHoldsNobodyUp) {
  const std::string initrd = folder_.path() + "/initrd";
  std::ofstream(initrd) << "nothing";
  define("bad", Autostart::on, 1, "restart_limit = 2\nramdisk = \"" + initrd + "\"\n");
  define("good", Autostart::on, 2);
  std::filesystem::remove(initrd);
  power_cut("second");
  start_pending();
  const auto failed_for_good =
      AllOf(Field(&StartFailure::why, HasSubstr("initrd")), Field(&StartFailure::retried, testing::IsFalse()));
  EXPECT_THAT(alive(), ElementsAre("good"));
  EXPECT_THAT(daemon_->autostart().failed, ElementsAre(Pair("bad", failed_for_good)));
  EXPECT_THAT(daemon_->find("bad")->start_failed, failed_for_good);
  daemon_.restart();
  EXPECT_THAT(daemon_->find("bad")->start_failed, failed_for_good) << "until it starts";
  std::ofstream(initrd) << "nothing";
  ASSERT_TRUE(daemon_->start("bad", false));
  EXPECT_THAT(daemon_->autostart().failed, IsEmpty());
}

/// Minutes may go by until it is given up.
TEST_F(HostTurns, OneThatIsTriedAgainSaysWhy) {
  const std::string initrd = folder_.path() + "/initrd";
  std::ofstream(initrd) << "nothing";
  define("bad", Autostart::on, 1, "ramdisk = \"" + initrd + "\"\n");
  std::filesystem::remove(initrd);
  power_cut("second");
  const AutostartThreads threads(*daemon_, 2);
  wait_for([&] { return daemon_->find("bad")->start_failed.retried; });
  EXPECT_THAT(daemon_->find("bad")->start_failed.why, HasSubstr("initrd"));
  EXPECT_EQ(daemon_->definition_counts().failed, 1u);
  EXPECT_EQ(daemon_->autostart().failed.count("bad"), 1u);
  EXPECT_THAT(pending(), ElementsAre("bad"));
  std::ofstream(initrd) << "nothing";
  wait_for([&] { return daemon_->autostart().pending.empty(); });
  EXPECT_THAT(daemon_->autostart().failed, IsEmpty());
}

TEST_F(HostTurns, ADelayGoesOnInTheNextDaemon) {
  define_all();
  power_cut("second");
  const auto until = Restarts::Clock::now() + std::chrono::hours(1);
  daemon_->delay(0, until);
  daemon_.restart();
  const std::map<unsigned, u64> delayed = daemon_->autostart().delayed;
  ASSERT_EQ(delayed.size(), 1u);
  EXPECT_GE(std::chrono::milliseconds(delayed.at(0)), until.time_since_epoch());
  power_cut("third");
  EXPECT_THAT(daemon_->autostart().delayed, IsEmpty()) << "of another start of the host";
}

/// Nor does it lose what ran if it has no room to write that down.
TEST_F(HostTurns, AFullDiskForgetsNoneThatRan) {
  define("last", Autostart::last);
  start("last");
  daemon_.faults.full = true;
  power_cut("second");
  EXPECT_THAT(pending(), ElementsAre("last"));
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("last"));
  daemon_.faults.full = false;
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("last")) << "with room again";
  start_pending();
  EXPECT_THAT(alive(), ElementsAre("last"));
  daemon_.restart();
  EXPECT_THAT(alive(), ElementsAre("last"));
  EXPECT_THAT(pending(), IsEmpty());
}

/// The record of the new start is written before anything of the old one goes: whichever call is the last.
TEST_F(HostTurns, NoRecordIsTakenForARunningDomain) {
  define_all();
  start("last");
  const int other = ::getpid();
  daemon_.stop();
  daemon_.change_record([&](DomainRecord& record) {
    ::kill(record.process->pid, SIGKILL);
    ::waitpid(record.process->pid, nullptr, 0);
    record.process = identity_of(other);
  });
  boot("second");
  daemon_.restart();
  EXPECT_THAT(alive(), IsEmpty());
  EXPECT_EQ(daemon_->epc().count.granted, 0u);
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
}

TEST_F(HostTurns, ANamespaceThatIsNotKnownTellsNothing) {
  define_all();
  daemon_.stop();
  const auto kept = daemon_.registry().host();
  ASSERT_TRUE(kept && *kept);
  HostRecord record = **kept;
  EXPECT_NE(std::exchange(record.start.pid_namespace, 0), 0u);
  ASSERT_TRUE(daemon_.registry().put(record));
  daemon_.restart();
  EXPECT_THAT(pending(), IsEmpty());
  daemon_.stop();
  record.start.pid_namespace = 1;
  ASSERT_TRUE(daemon_.registry().put(record));
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("on")) << "another container";
}

/// A newer version's, or damaged: what it says of its definition counts.
TEST_F(HostTurns, ARecordThatIsNotUnderstoodRanToo) {
  define_all();
  start("last");
  daemon_.stop();
  const DomainRecord record = daemon_.record();
  nlohmann::json object = nlohmann::json::parse(write_record(record));
  object["version"] = 99;
  std::ofstream(daemon_.paths.record(record.id)) << object;
  ::kill(record.process->pid, SIGKILL);
  ::waitpid(record.process->pid, nullptr, 0);
  boot("second");
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("last", "on"));
}

/// Another one may have the number of one that has ended, its namespace's inode.
TEST_F(HostTurns, AContainerOfTheSameNumberIsAnother) {
  define_all();
  daemon_.stop();
  HostRecord record = **daemon_.registry().host();
  ASSERT_TRUE(record.start.first_process);
  ++*record.start.first_process;
  ASSERT_TRUE(daemon_.registry().put(record));
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("on"));
}

TEST_F(HostTurns, WhatAnEarlierVersionDidNotKnowIsWrittenDown) {
  define_all();
  daemon_.stop();
  const HostRecord known = **daemon_.registry().host();
  HostRecord record = known;
  record.start.first_process.reset();
  ASSERT_TRUE(daemon_.registry().put(record));
  daemon_.restart();
  EXPECT_THAT(pending(), IsEmpty());
  EXPECT_EQ(**daemon_.registry().host(), known);
}

TEST_F(HostTurns, ARecordThatCannotBeReadIsNotWrittenOver) {
  define_all();
  daemon_.stop();
  const std::string newer = R"({"version": 99})";
  std::ofstream(daemon_.paths.host_record()) << newer;
  boot("second");
  daemon_.restart();
  EXPECT_THAT(pending(), IsEmpty());
  std::string text;
  std::getline(std::ifstream(daemon_.paths.set_aside() / "host.json") >> std::ws, text);
  EXPECT_EQ(text, newer);
  power_cut("third");
  EXPECT_THAT(pending(), ElementsAre("on"));
}

TEST_F(HostTurns, NorIsOneThatCannotBeMovedEither) {
  define_all();
  daemon_.stop();
  const std::string newer = R"({"version": 99})";
  std::ofstream(daemon_.paths.host_record()) << newer;
  std::filesystem::remove_all(daemon_.paths.set_aside());
  std::filesystem::create_symlink("nowhere", daemon_.paths.set_aside());
  boot("second");
  daemon_.restart();
  start("last");
  EXPECT_THAT(daemon_->host_down().not_noted, HasSubstr("host.json cannot be understood"));
  ASSERT_TRUE(daemon_->host_up());
  std::string text;
  std::getline(std::ifstream(daemon_.paths.host_record()) >> std::ws, text);
  EXPECT_EQ(text, newer);
}

/// The file is not written for each of many. A daemon that is killed meanwhile leaves no domain to be started twice.
TEST_F(HostTurns, WhatWasStartedIsKnownBeforeItIsWrittenDown) {
  for (const char* name : {"a", "b", "c"}) define(name, Autostart::on);
  power_cut("second");
  const fs::path file = daemon_.paths.host_record(), killed = folder_.path() + "/killed";
  start("a");
  fs::copy_file(file, killed);
  daemon_.stop();
  EXPECT_EQ((**daemon_.registry().host()).pending.size(), 2u) << "one that ends writes it";
  fs::rename(killed, file);
  EXPECT_EQ((**daemon_.registry().host()).pending.size(), 3u);
  daemon_.restart();
  EXPECT_THAT(pending(), ElementsAre("b", "c"));
  EXPECT_THAT(alive(), ElementsAre("a"));
  start("b");
  ASSERT_TRUE(daemon_->destroy("b"));
  EXPECT_EQ((**daemon_.registry().host()).pending.size(), 1u) << "with its end";
  start("c");
  EXPECT_THAT((**daemon_.registry().host()).pending, IsEmpty()) << "with the last one";
}

TEST_F(HostTurns, AnotherOfTheSameUuidIsNotPending) {
  define("a", Autostart::on);
  power_cut("second");
  const std::string uuid = daemon_->find("a")->uuid;
  ASSERT_TRUE(daemon_->undefine("a"));
  define("b", Autostart::on, 0, "uuid = \"" + uuid + "\"\n");
  EXPECT_THAT(pending(), IsEmpty());
}

/// A creation that the host's end cut off before its process was written down: nothing of it can live.
TEST_F(HostTurns, ACreationThatWasCutOffIsOver) {
  define("on", Autostart::on);
  start("on");
  daemon_.stop();
  daemon_.change_record([&](DomainRecord& record) {
    ::kill(record.process->pid, SIGKILL);
    ::waitpid(record.process->pid, nullptr, 0);
    record.process.reset();
    record.running = false;
  });
  daemon_.sight.may_have = true;
  boot("second");
  daemon_.restart();
  EXPECT_THAT(alive(), IsEmpty());
  start_pending();
  EXPECT_THAT(alive(), ElementsAre("on"));
}

}  // namespace
}  // namespace cloister::tests
