// What a daemon makes of the domains of an earlier one: of each record, each VMM, and what can be told of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <fstream>

#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Recovery : public testing::Test {
 protected:
  /// A daemon with a domain that runs, which has gone.
  Recovery() {
    daemon_.restart();
    const auto added = daemon_.add("a");
    EXPECT_TRUE(added) << added.error().message;
    vmm_ = added->pid;
    daemon_.stop();
  }

  void kill_vmm() const {
    ::kill(vmm_, SIGKILL);
    ::waitpid(vmm_, nullptr, 0);
  }
  u64 held() const { return daemon_->epc().count.granted; }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
  int vmm_ = 0;
};

enum class Process : u8 { lives, dead, unknown };

struct Found {
  bool running;     ///< what the record says
  Process process;  ///< what can be told of the VMM
  bool answers;
  const char* shown;  ///< empty: it is gone
  int destroyed;      ///< the status of an attempt to end it; 0: it goes well
  const char* later;  ///< as `shown`, when its VMM can be seen, and answers
};
constexpr Found all_found[] = {
    {true, Process::lives, true, "running", 0, "running"},
    {true, Process::lives, false, "unresponsive", 0, "running"},
    {true, Process::dead, true, "", 404, ""},
    {true, Process::unknown, true, "unresponsive", 500, "running"},
    {true, Process::unknown, false, "unresponsive", 500, "running"},
    {false, Process::lives, true, "", 404, ""},
    {false, Process::lives, false, "", 404, ""},
    {false, Process::dead, true, "", 404, ""},
    {false, Process::unknown, true, "creating", 409, ""},
    {false, Process::unknown, false, "creating", 409, ""},
};

class RecoveryOf : public Recovery, public testing::WithParamInterface<Found> {
 protected:
  void find() {
    const Found& one = GetParam();
    daemon_.change_record([&](DomainRecord& record) { record.running = one.running; });
    daemon_.mute(!one.answers);
    if (one.process == Process::dead) kill_vmm();
    daemon_.sight.blind = one.process == Process::unknown;
    daemon_.restart();
    EXPECT_EQ(daemon_.shown("a"), one.shown);
    EXPECT_EQ(held(), *one.shown == '\0' ? 0u : 256u);
  }
  void reap() const {
    while (::waitpid(-1, nullptr, 0) > 0) continue;
  }
};

TEST_P(RecoveryOf, EndsOnlyWhatItCanTell) {
  find();
  const auto destroyed = daemon_->destroy("a");
  EXPECT_EQ(destroyed ? 0 : destroyed.error().status, GetParam().destroyed);
  EXPECT_EQ(held(), destroyed || GetParam().destroyed == 404 ? 0u : 256u);
  kill_vmm();
  daemon_.sight.blind = false;
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

TEST_P(RecoveryOf, SeesWhatItIsAsSoonAsItCan) {
  find();
  daemon_.sight.blind = false;
  daemon_.mute(false);
  daemon_.wait_until("a", GetParam().later);
  if (daemon_.shown("a") == "running") {
    EXPECT_TRUE(daemon_->find("a")->memory != nullptr) << "what its VMM holds is at hand again";
    EXPECT_EQ(held(), 256u);
    EXPECT_TRUE(daemon_->destroy("a"));
  }
  reap();
  EXPECT_EQ(daemon_.left(), "");
  EXPECT_TRUE(daemon_.add("a"));
}

std::string found_name(const testing::TestParamInfo<Found>& info) {
  constexpr const char* processes[] = {"Lives", "Dead", "Unknown"};
  return std::string(info.param.running ? "Running" : "Creating") + processes[static_cast<int>(info.param.process)] +
         (info.param.answers ? "" : "Mute");
}
INSTANTIATE_TEST_SUITE_P(All, RecoveryOf, testing::ValuesIn(all_found), found_name);

TEST_F(Recovery, ALaunchThatDoesNotDieKeepsWhatItHas) {
  daemon_.change_record([](DomainRecord& record) { record.running = false; });
  daemon_.sight.undying = Fd(::eventfd(0, EFD_CLOEXEC));
  daemon_.patience.exit = std::chrono::milliseconds(1);
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "creating");
  EXPECT_EQ(held(), 256u);
  EXPECT_EQ(daemon_->destroy("a").error().status, 409);
  kill_vmm();
  ::eventfd_write(daemon_.sight.undying.get(), 1);
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

/// Of older records, which do not name their process.
TEST_F(Recovery, AProcessIsFoundByItsSocket) {
  const DomainRecord before = daemon_.record();
  daemon_.change_record([](DomainRecord& record) { record.process.reset(); });
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_EQ(daemon_.record().process, before.process) << "and is written down";
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Recovery, AProcessThatCannotBeWrittenDownIsFoundAllTheSame) {
  daemon_.change_record([](DomainRecord& record) { record.process.reset(); });
  daemon_.faults.fail(3);  // after the reading of the records, and of its identity
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_FALSE(daemon_.record().process);
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Recovery, AProcessWhoseIdentityCannotBeToldIsNotHeld) {
  daemon_.change_record([](DomainRecord& record) { record.process.reset(); });
  daemon_.sight.blind = true;
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "unresponsive");
  daemon_.sight.blind = false;
  daemon_.wait_until("a", "running");
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Recovery, NobodyAtTheSocketIsAProof) {
  daemon_.change_record([](DomainRecord& record) { record.process.reset(); });
  kill_vmm();
  daemon_.sight.may_have = true;
  daemon_.restart();
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Recovery, NoSocketIsAProofIfThereIsNoSuchProcess) {
  daemon_.change_record([](DomainRecord& record) { record.process.reset(); });
  kill_vmm();
  fs::remove_all(daemon_.paths.sockets_of(1));
  daemon_.sight.may_have = true;
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "unresponsive");
  EXPECT_EQ(held(), 256u);
  daemon_.sight.may_have = false;
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

/// Beside the domain that is there another one, with its record changed, too.
class TwoRecords : public Recovery {
 protected:
  static constexpr const char* uuid = "11111111-2222-4333-8444-555555555555";

  TwoRecords() {
    daemon_.restart();
    EXPECT_TRUE(daemon_.add("b"));
  }
  void change_records(const std::function<void(DomainRecord&)>& change) {
    daemon_.stop();
    const auto records = daemon_.registry().read();
    ASSERT_TRUE(records && records->domains.size() == 2);
    for (DomainRecord record : records->domains) {
      change(record);
      ASSERT_TRUE(daemon_.registry().put(record));
    }
    daemon_.restart();
  }
  std::string uuid_of(const std::string& name) const { return daemon_->find(name)->uuid; }
  /// What is told to one by its uuid reaches that one.
  void expect_two() const {
    EXPECT_NE(uuid_of("a"), uuid_of("b"));
    const auto ended = daemon_->destroy(uuid_of("b"));
    ASSERT_TRUE(ended);
    EXPECT_EQ(ended->name, "b");
    EXPECT_EQ(daemon_.shown("a"), "running");
    EXPECT_TRUE(daemon_->destroy("a"));
    EXPECT_EQ(daemon_.left(), "");
  }
  /// As a record of before there were uuids, whose text had a key that meant nothing.
  static void ask_for_it(DomainRecord& record) {
    record.uuid.clear();
    record.config += std::string("uuid = \"") + uuid + "\"\n";
  }
};

TEST_F(TwoRecords, WhoseTextsAskForOneUuidHaveTwo) {
  change_records(ask_for_it);
  EXPECT_EQ(uuid_of("a"), uuid);
  expect_two();
}

TEST_F(TwoRecords, DoNotHaveTheUuidOfADefinition) {
  ASSERT_TRUE(daemon_.define("c", std::string("uuid = \"") + uuid + "\"\n"));
  change_records(ask_for_it);
  EXPECT_NE(uuid_of("a"), uuid);
  EXPECT_EQ(uuid_of("c"), uuid);
  EXPECT_EQ(daemon_.shown("c"), "shut off");
  expect_two();
}

TEST_F(TwoRecords, OfOneUuidHaveTwo) {
  change_records([](DomainRecord& record) { record.uuid = uuid; });
  expect_two();
}

/// docs/daemon.md: it never changes.
TEST_F(TwoRecords, KeepTheUuidsThatTheyAreGiven) {
  for (const auto& change : {std::function<void(DomainRecord&)>([](DomainRecord& record) { record.uuid.clear(); }),
                             std::function<void(DomainRecord&)>([](DomainRecord& record) { record.uuid = uuid; })}) {
    change_records(change);
    const std::string of_a = uuid_of("a"), of_b = uuid_of("b");
    EXPECT_FALSE(of_a.empty() || of_b.empty());
    daemon_.restart();
    EXPECT_EQ(uuid_of("a"), of_a);
    EXPECT_EQ(uuid_of("b"), of_b);
  }
  expect_two();
}

TEST_F(TwoRecords, AUuidIsNobodysName) {
  const std::string of_b = uuid_of("b");
  change_records([&](DomainRecord& record) {
    if (record.name == "a") record.name = of_b;
  });
  EXPECT_EQ(daemon_->find(of_b)->name, "b");
  ASSERT_TRUE(daemon_->destroy("b"));
  EXPECT_FALSE(daemon_->find(of_b)) << "what has ended is not another one";
  EXPECT_TRUE(daemon_->destroy("1"));
}

class UnreadRecordOf : public Recovery {
 protected:
  UnreadRecordOf() { std::ofstream(daemon_.paths.record(1)) << "{\"version\": 99"; }
  bool set_aside() const { return fs::exists(daemon_.paths.set_aside() / "1.json"); }
};

TEST_F(UnreadRecordOf, ADeadDomainIsSetAside) {
  kill_vmm();
  daemon_.restart();
  EXPECT_TRUE(set_aside());
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(UnreadRecordOf, ADeadDomainThatCannotBeSetAsideHindersTheStart) {
  kill_vmm();
  daemon_.faults.fail(2, true);
  EXPECT_FALSE(daemon_.start());
  EXPECT_TRUE(fs::exists(daemon_.paths.record(1)));
  daemon_.faults.fail(0);
  daemon_.restart();
  EXPECT_TRUE(set_aside());
}

TEST_F(UnreadRecordOf, ALivingDomainKeepsItsFileUntilItEnds) {
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("record-1"), "unresponsive");
  const auto more = daemon_.add("b");
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().status, 503) << "whose frames these are is not known";
  EXPECT_FALSE(set_aside());
  EXPECT_TRUE(daemon_->destroy("record-1"));
  EXPECT_TRUE(set_aside());
  EXPECT_EQ(daemon_.left(), "");
  EXPECT_TRUE(daemon_.add("b"));
}

/// Whose record a newer daemon wrote, or nobody could.
class UnreadDefined : public Recovery {
 protected:
  UnreadDefined() {
    daemon_.restart();
    EXPECT_TRUE(daemon_->destroy("a"));
    for (const char* name : {"web", "other"}) EXPECT_TRUE(daemon_.define(name));
    EXPECT_TRUE(daemon_->start("web", false));
    uuid_ = daemon_->find("web")->uuid;
    daemon_.stop();
  }
  /// With members of the record changed.
  void restart_with(const nlohmann::json& change) {
    const DomainRecord record = daemon_.record();
    nlohmann::json object = nlohmann::json::parse(write_record(record));
    object.merge_patch(change);
    std::ofstream(daemon_.paths.record(record.id)) << object;
    daemon_.restart();
  }
  std::vector<std::string> not_started(const std::string& key) {
    const auto started = daemon_->start(key, false);
    EXPECT_FALSE(started);
    return {started ? "" : std::to_string(started.error().status), started ? "" : started.error().message};
  }

  std::string uuid_;
};

TEST_F(UnreadDefined, IsNotStartedASecondTime) {
  restart_with({{"version", 99}});
  EXPECT_EQ(daemon_.shown("web"), "running");
  EXPECT_EQ(daemon_->find(uuid_)->id, daemon_->find("web")->id);
  EXPECT_THAT(daemon_->find("web")->differs, testing::IsEmpty()) << "what it was made of is not known";
  EXPECT_THAT(not_started(uuid_)[1], HasSubstr("'web' runs already"));
  EXPECT_EQ(daemon_->undefine(uuid_).error().status, 409);
  EXPECT_EQ(daemon_->list_shut_off().size(), 1u);
  EXPECT_TRUE(daemon_->start("other", false)) << "which is another one";
  EXPECT_TRUE(daemon_->destroy(uuid_));
  EXPECT_EQ(daemon_.shown("web"), "shut off");
  EXPECT_TRUE(daemon_->start(uuid_, false));
}

TEST_F(UnreadDefined, IsKnownByItsNameToo) {
  restart_with({{"version", 99}, {"uuid", nullptr}});
  EXPECT_THAT(not_started(uuid_)[1], HasSubstr("'web' lives, and may be 'web'"));
  EXPECT_TRUE(daemon_->destroy("web"));
  EXPECT_TRUE(daemon_->start(uuid_, false));
}

TEST_F(UnreadDefined, MayBeAny) {
  restart_with({{"version", 99}, {"uuid", "what is that"}, {"name", nullptr}});
  for (const char* name : {"web", "other"}) {
    const auto not_started_of = not_started(name);
    EXPECT_THAT(not_started_of, testing::ElementsAre("409", HasSubstr("'record-")));
    // Nor is anything else done to it that one which lives does not bear.
    const ApiError undefined = daemon_->undefine(name).error();
    const ApiError renamed = daemon_->change(name, {.name = "new"}).error();
    for (const ApiError& error : {undefined, renamed}) {
      EXPECT_EQ(error.status, 409);
      EXPECT_EQ(error.message, not_started_of[1]);
    }
  }
  EXPECT_EQ(daemon_->list_shut_off().size(), 2u);
  EXPECT_TRUE(daemon_->destroy(daemon_->list().at(0).name));
  for (const char* name : {"web", "other"}) EXPECT_TRUE(daemon_->start(name, false));
}

TEST_F(Recovery, WithoutItsRecordsNoDaemonStarts) {
  daemon_.faults.fail(1);
  const auto started = daemon_.start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error(), HasSubstr("planted"));
  daemon_.faults.fail(0);
  daemon_.restart();
  EXPECT_TRUE(daemon_->destroy("a"));
}

}  // namespace
}  // namespace cloister::tests
