// Every step of a creation fails in turn: by what it depends on, for want of descriptors, by its VMM. Then nothing is
// left, and the name is free.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <set>
#include <thread>

#include "sanitized.hpp"
#include "unit/daemon/fake_vmm.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Creation : public testing::Test {
 protected:
  Creation() { daemon_.restart(); }

  /// A domain of this name can be made, and ended.
  void expect_free(const std::string& name) {
    const auto added = daemon_.add(name);
    ASSERT_TRUE(added) << added.error().message;
    EXPECT_EQ(daemon_.shown(name), "running");
    ASSERT_TRUE(daemon_->destroy(name));
    EXPECT_EQ(daemon_.left(), "");
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(Creation, ACallThatFailsIsUndone) {
  int failed = 0;
  for (int number = 1; true; ++number) {
    SCOPED_TRACE("call " + std::to_string(number));
    daemon_.restart();
    daemon_.faults.fail(number);
    const auto added = daemon_.add("a");
    const bool met = daemon_.faults.met();
    daemon_.faults.fail(0);
    if (!added) {
      ++failed;
      EXPECT_EQ(added.error().status, 500) << added.error().message;
    } else {
      EXPECT_TRUE(daemon_->destroy("a"));
    }
    EXPECT_EQ(daemon_.left(), "");
    expect_free("a");
    if (!met) break;
  }
  // The machine's record, its key's, the domain's, EPC, counters, the VMM, the record with its process, and as running.
  // That /proc does not name the process is no failure.
  EXPECT_EQ(failed, 8);
}

// This machine's processors have one engine.
TEST_F(Creation, AnEngineThatThereIsNoneOfIsRefusedWhereItStands) {
  CreateRequest request = daemon_.request("a");
  request.config += "engine = 'compiler'\n";
  const auto refused = daemon_->add(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 400);
  EXPECT_THAT(refused.error().message, HasSubstr("'engine': found \"compiler\""));
  EXPECT_NE(refused.error().line, 0u);
  daemon_.machine.engine = Engine::compiler;
  daemon_.restart();
  const auto by_machine = daemon_.add("a");
  ASSERT_FALSE(by_machine);
  EXPECT_THAT(by_machine.error().message, HasSubstr("the machine's 'engine': found \"compiler\""));
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Creation, ADomainKeepsItsEngineWhateverTheMachineSays) {
  const auto added = daemon_.add("a");
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(added->engine, Engine::interpreter) << "the best that there is";
  daemon_.machine.engine = Engine::compiler;
  daemon_.restart();
  EXPECT_EQ(daemon_->find("a")->engine, Engine::interpreter);
  EXPECT_EQ(daemon_.record().engine, Engine::interpreter);
  ASSERT_TRUE(daemon_->destroy("a"));
}

TEST_F(Creation, ADaemonThatCannotWriteAnyMoreHoldsNothing) {
  for (int number = 1; true; ++number) {
    SCOPED_TRACE("call " + std::to_string(number));
    daemon_.faults.fail(number, true);
    const auto added = daemon_.add("a");
    const bool met = daemon_.faults.met();
    if (added) {
      EXPECT_TRUE(daemon_->destroy("a"));
    }
    EXPECT_TRUE(daemon_->list().empty());
    EXPECT_EQ(daemon_->epc().count.granted, 0u);
    daemon_.faults.fail(0);
    // A record may be left: of a domain whose VMM is dead.
    daemon_.restart();
    EXPECT_EQ(daemon_.left(), "");
    if (!met) break;
  }
}

/// Lowers the limit of descriptors as long as it lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(int most) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(most);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_F(Creation, ADescriptorThatIsMissingIsNotMissed) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer asks by a pipe whether memory is there";
  const int first = Fd(::dup(0)).get();
  std::set<std::string> reasons;
  for (int limit = first; true; ++limit) {
    SCOPED_TRACE("descriptors below " + std::to_string(limit));
    const auto added = [&] {
      const DescriptorLimit most(limit);
      return daemon_.add("a");
    }();
    if (added) break;
    reasons.insert(added.error().message.substr(0, 20));
    EXPECT_EQ(daemon_.left(), "") << added.error().message;
  }
  EXPECT_THAT(reasons, testing::SizeIs(testing::Ge(8u))) << "each step has its own";
  ASSERT_TRUE(daemon_->destroy("a"));
  expect_free("a");
}

TEST_F(Creation, AVmmThatFailsIsUndone) {
  struct Case {
    const char* word;
    int status;
    const char* message;
  };
  for (const Case& one :
       {Case{"dies", 500, "the domain's process"}, Case{"refuses", 400, "no such guest"},
        Case{"dies-at-hello", 500, "the domain's process"}, Case{"dies-after-hello", 500, "the domain's process"},
        Case{"dies-at-run", 500, "the domain's process"}}) {
    SCOPED_TRACE(one.word);
    const auto added = daemon_.add("a", one.word);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().status, one.status);
    EXPECT_THAT(added.error().message, HasSubstr(one.message));
    EXPECT_EQ(added.error().line, one.status == 400 ? 4u : 0u);
    EXPECT_EQ(daemon_.left(), "");
  }
  expect_free("a");
}

TEST_F(Creation, AnAnswerAfterTheEndBringsNoDomainBack) {
  const auto added = daemon_.add("a", "answers-when-gone");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message, "the domain's process has ended");
  while (::waitpid(-1, nullptr, 0) > 0) continue;
  EXPECT_EQ(daemon_.left(), "");
  expect_free("a");
}

TEST_F(Creation, AVmmThatNeverAnswersIsKilled) {
  daemon_.patience.launch = std::chrono::milliseconds(50);
  daemon_.restart();
  const auto added = daemon_.add("a", "mute");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().status, 500);
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Creation, AGroupThatCannotBeMadeIsUndone) {
  fs::create_directories(folder_.path("group/domains/domain-1"));
  folder_.write("group/cgroup.controllers", "memory\n");
  folder_.write("group/cgroup.subtree_control", "memory\n");
  folder_.write("group/domains/cgroup.controllers", "memory\n");
  folder_.write("group/domains/cgroup.subtree_control", "memory\n");
  folder_.write("group/domains/domain-1/in-the-way", "");
  daemon_.cgroup = folder_.path("group");
  daemon_.restart();
  const auto added = daemon_.add("a");
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error().message, HasSubstr("cannot make the control group"));
  EXPECT_EQ(daemon_.left(), "");
  expect_free("a");
}

TEST_F(Creation, IsSeenAndHoldsItsPlaceMeanwhile) {
  Domains::Result added;
  std::thread user([&] { added = daemon_.add("a", "mute"); });
  daemon_.wait_until("a", "creating");
  wait_for([&] { return daemon_->find("a")->pid != 0; });
  EXPECT_EQ(daemon_->epc().count.granted, 256u);
  for (const auto& refused : {daemon_->destroy("a"), daemon_->change("a", {.name = "b"}),
                              daemon_->tell("a", *find_guest_verb("pause"), {})}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, 409);
    EXPECT_EQ(refused.error().message, "'a' is being created");
  }
  const auto twice = daemon_.add("a");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().message, "there is a domain 'a' already");
  daemon_.kill("a");
  user.join();
  EXPECT_FALSE(added);
  EXPECT_EQ(daemon_.left(), "");
  expect_free("a");
}

/// A domain that somebody destroys has been started, or is not there: no start fails of it, to be tried again.
TEST_F(Creation, IsNotUndoneByWhoDestroysTheDomain) {
  Domains::Result added;
  std::thread user([&] { added = daemon_.add("a", "runs-late"); });
  wait_for([&] {
    const auto records = daemon_.registry().read();
    return records && records->domains.size() == 1 && records->domains[0].running;
  });
  const auto refused = daemon_->destroy("a");
  EXPECT_EQ(daemon_.shown("a"), "creating");
  std::ofstream(run_file(daemon_.request("a").file)) << "";
  user.join();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 409);
  EXPECT_EQ(refused.error().message, "'a' is being created");
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_.left(), "");
}

}  // namespace
}  // namespace cloister::tests
