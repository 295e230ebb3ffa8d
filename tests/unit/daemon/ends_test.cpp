// Ends of domains, and what can go wrong in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <future>

#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

using ::testing::HasSubstr;

class Ends : public testing::Test {
 protected:
  void begin(const std::string& word = "") {
    daemon_.restart();
    const auto added = daemon_.add("a", word);
    ASSERT_TRUE(added) << added.error().message;
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(Ends, AskedForItLeavesNothing) {
  begin();
  const auto last = daemon_->destroy("a");
  ASSERT_TRUE(last);
  EXPECT_EQ(last->state, "ended");
  EXPECT_EQ(daemon_.left(), "");
  EXPECT_EQ(daemon_->destroy("a").error().status, 404);
}

TEST_F(Ends, OfAGuestItLeavesNothing) {
  begin("ends");
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Ends, OfAVmmThatDiesItLeavesNothing) {
  begin();
  daemon_.kill("a");
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Ends, AProcessThatDoesNotDieKeepsItsDomain) {
  begin();
  daemon_.stop();
  daemon_.sight.undying = Fd(::eventfd(0, EFD_CLOEXEC));
  daemon_.patience.death = std::chrono::milliseconds(10);
  daemon_.restart();
  const auto last = daemon_->destroy("a");
  ASSERT_FALSE(last);
  EXPECT_THAT(last.error().message, HasSubstr("does not end"));
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_EQ(daemon_->epc().count.granted, 256u);
  const int vmm = daemon_->find("a")->pid;
  daemon_.kill("a");
  ::waitpid(vmm, nullptr, 0);
  ::eventfd_write(daemon_.sight.undying.get(), 1);
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_.left(), "");
}

class FaultyFrame : public Ends {
 protected:
  FaultyFrame() { daemon_.machine.packages[0].epc[0].faulty = {3}; }

  u64 frame() const { return daemon_.machine.packages[0].epc[0].base / arch::page_size + 3; }
  std::vector<EpcExtent> withdrawn() const { return daemon_->epc().withdrawn; }
  void expect_withdrawn() const {
    ASSERT_EQ(withdrawn().size(), 1u);
    EXPECT_EQ(withdrawn()[0].first.value, frame());
    EXPECT_EQ(withdrawn()[0].pages, 1u);
    EXPECT_EQ(daemon_.left(), "");
  }
};

TEST_F(FaultyFrame, IsWithdrawnForGood) {
  begin();
  ASSERT_TRUE(daemon_->destroy("a"));
  expect_withdrawn();
  EXPECT_EQ(daemon_.registry().machine()->withdrawn, std::vector{frame()});
  daemon_.restart();
  expect_withdrawn();
}

TEST_F(FaultyFrame, IsWithdrawnEvenIfThatCannotBeKept) {
  begin();
  daemon_.faults.fail(1);
  ASSERT_TRUE(daemon_->destroy("a"));
  expect_withdrawn();
}

TEST_F(Ends, ARecordThatCannotBeRemovedHoldsNothing) {
  begin();
  daemon_.faults.fail(1);
  ASSERT_TRUE(daemon_->destroy("a"));
  EXPECT_TRUE(daemon_->list().empty());
  EXPECT_EQ(daemon_->epc().count.granted, 0u);
  EXPECT_EQ(daemon_.record().name, "a");
  daemon_.restart();
  EXPECT_EQ(daemon_.left(), "") << "its VMM is dead";
}

class Cramped : public Ends {
 protected:
  /// A domain that is ending, and cannot be cleaned.
  void end() {
    begin();
    daemon_.silicon.cramped = true;
    daemon_.kill("a");
    daemon_.wait_until("a", "ending");
  }
};

TEST_F(Cramped, UntilItIsCleanedADomainKeepsWhatItHas) {
  end();
  EXPECT_EQ(daemon_->epc().count.granted, 256u);
  EXPECT_EQ(daemon_->find("a")->pid, 0);
  for (const auto& refused : {daemon_->change("a", {.name = "b"}), daemon_->tell("a", *find_guest_verb("pause"), {})}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "'a' is ending");
  }
  auto last = std::async(std::launch::async, [&] { return daemon_->destroy("a"); });
  EXPECT_EQ(last.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout) << "until it is cleaned";
  EXPECT_EQ(daemon_.shown("a"), "ending");
  daemon_.silicon.cramped = false;
  const auto destroyed = last.get();
  EXPECT_TRUE(destroyed || destroyed.error().status == 404) << "a stalled host's thread begins when it is gone";
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Cramped, ADaemonThatEndsBeforeLeavesTheRecordToTheNext) {
  end();
  daemon_.stop();
  EXPECT_EQ(daemon_.record().name, "a");
  daemon_.silicon.cramped = false;
  daemon_.restart();
  EXPECT_EQ(daemon_.left(), "");
}

}  // namespace
}  // namespace cloister::tests
