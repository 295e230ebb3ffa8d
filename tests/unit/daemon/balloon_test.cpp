// Frames that guests gave back go to other domains and come again: what the accounts and the records say of them,
// whatever dies meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "arch/sizes.hpp"
#include "unit/daemon/doomed_daemon.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

constexpr u64 balloon_mib = 8, mib_pages = arch::pages_per_mib;

CreateRequest with_epc(const TestDaemon& daemon, const std::string& name, const std::string& word,
                       const std::string& epc) {
  CreateRequest request = daemon.request(name, word);
  const std::string before = "epc = 1\n";
  request.config.replace(request.config.find(before), before.size(), "epc = " + epc + "\n");
  return request;
}

void ask_to_have(const TestDaemon& daemon, const std::string& name, u64 mib) {
  (void)daemon->tell(name, *find_guest_verb("epc-target"), {{"mib", mib}});
}

u64 held_by(const TestDaemon& daemon, const std::string& name) {
  const auto domain = daemon->find(name);
  return domain ? pages_of(domain->grants) : 0;
}

}  // namespace

/// What one gives another one has; then the first one has it again.
int run_doomed_balloon(const std::string& folder, int point) {
  TestDaemon daemon(folder);
  daemon.machine.packages[0].epc[0].bytes = balloon_mib << 20;
  if (!daemon.start() || !daemon->add(with_epc(daemon, "a", "balloon", "8"))) return 1;
  daemon.faults.die(point);
  ask_to_have(daemon, "a", 2);
  while (held_by(daemon, "a") != 2 * mib_pages) continue;
  if (!daemon->add(with_epc(daemon, "b", "", "5"))) return 1;
  ask_to_have(daemon, "a", 8);
  while (held_by(daemon, "a") != 3 * mib_pages) continue;
  ::_exit(0);
}

namespace {

using ::testing::HasSubstr;

class BalloonTest : public testing::Test {
 protected:
  void SetUp() override {
    daemon_.machine.packages[0].epc[0].bytes = balloon_mib << 20;
    daemon_.restart();
  }
  Domains::Result add(const std::string& name, const std::string& word, const std::string& epc) {
    return daemon_->add(with_epc(daemon_, name, word, epc));
  }
  void ask(const std::string& name, u64 mib) { ask_to_have(daemon_, name, mib); }
  u64 held(const std::string& name) const { return held_by(daemon_, name); }
  void wait_for_mib(const std::string& name, u64 mib) const {
    wait_for([&] { return held(name) == mib * mib_pages; });
  }
  u64 free() const { return daemon_->epc().count.free; }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(BalloonTest, WhatAGuestGivesAnotherDomainHas) {
  ASSERT_TRUE(add("a", "balloon", "8"));
  EXPECT_EQ(add("b", "", "6").error().status, 507);
  ask("a", 2);
  wait_for_mib("a", 2);
  EXPECT_EQ(free(), 6 * mib_pages);
  const auto b = add("b", "", "6");
  ASSERT_TRUE(b) << b.error().message;
  ask("a", 8);
  wait_for([&] { return daemon_->find("a")->page->balloon()->needs[0] == 8 * mib_pages; });
  EXPECT_EQ(held("a"), 2 * mib_pages) << "there are no frames for it";
  ASSERT_TRUE(daemon_->destroy("b"));
  wait_for_mib("a", 8);
  EXPECT_EQ(free(), 0u);
  ASSERT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(free(), 8 * mib_pages);
  EXPECT_EQ(daemon_.left(), "");
}

/// A domain that starts waits for what is on its way home.
TEST_F(BalloonTest, ADomainThatStartsHasWhatIsOnItsWay) {
  ASSERT_TRUE(add("a", "balloon", "8"));
  ask("a", 1);
  const auto b = add("b", "", "7");
  ASSERT_TRUE(b) << b.error().message;
}

/// Who pages has what is left, and gives it up for a guest that takes its own again.
TEST_F(BalloonTest, DomainsThatPageGiveWay) {
  ASSERT_TRUE(add("a", "balloon", "6"));
  ASSERT_TRUE(add("p", "wants", "8\nepc_min = 1"));
  wait_for_mib("p", 2);
  ask("a", 2);
  wait_for_mib("p", 6);
  ask("a", 5);
  wait_for_mib("a", 5);
  wait_for_mib("p", 3);
}

TEST_F(BalloonTest, OfSectionsEachHasItsFrames) {
  daemon_.machine.packages = {daemon_.machine.packages[0], daemon_.machine.packages[0]};
  daemon_.machine.packages[1].epc[0].base += u64{1} << 32;
  daemon_.restart();
  ASSERT_TRUE(add("a", "balloon", "[\"size=4,package=1\", \"size=2,package=0\", \"size=1,package=1\"]"));
  const auto grants = daemon_->find("a")->grants;
  ASSERT_EQ(grants.size(), 3u);
  EXPECT_EQ(daemon_->find("a")->listed.size(), 2u) << "it may have any frame of the two packages";
  // Its second and third sections' frames go, and the second one's come again, of their package.
  auto& needs = daemon_->find("a")->page->balloon()->needs;
  needs[1] = needs[2] = 0;
  wait_for([&] {
    const auto now = daemon_->find("a")->grants;
    return now[0] == grants[0] && pages_of({now[1]}) == 0 && pages_of({now[2]}) == 0;
  });
  EXPECT_EQ(free(), 12 * mib_pages);
  needs[1] = mib_pages;
  wait_for([&] { return pages_of({daemon_->find("a")->grants[1]}) == mib_pages; });
  EXPECT_EQ(daemon_->epc().packages[0].count.granted, mib_pages);
  EXPECT_EQ(daemon_->epc().packages[1].count.granted, 4 * mib_pages);
}

/// It was told to take frames, and never got them.
TEST_F(BalloonTest, FramesThatAVmmNeverGotAreFoundAgain) {
  ASSERT_TRUE(add("a", "balloon-deaf", "8"));
  ask("a", 2);
  wait_for_mib("a", 2);
  ask("a", 8);
  wait_for([&] { return held("a") > 2 * mib_pages; });
  wait_for_mib("a", 2);
  daemon_.restart();
  wait_for([&] { return held("a") > 2 * mib_pages; });
  wait_for_mib("a", 2);
  daemon_.kill("a");
  daemon_.wait_until("a", "");
  EXPECT_EQ(free(), 8 * mib_pages);
}

/// A VMM that was taken over may say what it likes.
TEST_F(BalloonTest, NoVmmHasMoreThanItsEpc) {
  ASSERT_TRUE(add("a", "balloon", "2"));
  auto& needs = daemon_->find("a")->page->balloon()->needs;
  for (auto& range : needs) range = ~u64{0};
  ASSERT_TRUE(add("b", "balloon", "2"));
  ask("b", 1);
  wait_for_mib("b", 1);
  EXPECT_EQ(held("a"), 2 * mib_pages);
  // It says that it needs nothing.
  for (auto& range : needs) range = 0;
  ask("b", 2);
  wait_for_mib("b", 2);
  wait_for_mib("a", 0);
  ASSERT_TRUE(daemon_->destroy("a"));
}

TEST_F(BalloonTest, ADaemonThatDiesMeanwhileLosesNoFrame) {
  unsigned deaths = 0;
  for (int point = 1, status = Faults::died; status != 0; ++point) {
    SCOPED_TRACE("point " + std::to_string(point));
    const Folder folder;
    status = doom(folder.path(), doomed_balloon + point);
    ASSERT_TRUE(status == 0 || status == Faults::died) << status;
    deaths += status != 0;
    TestDaemon next(folder.path());
    next.machine.packages[0].epc[0].bytes = balloon_mib << 20;
    next.restart();
    const auto a = next->find("a");
    ASSERT_TRUE(a);
    // What its guest is asked to have it gets, as far as "b", if there is one, has it not.
    wait_for([&] {
      u64 others = 0;
      for (const DomainInfo& domain : next->list()) {
        others += domain.name == "a" ? 0 : pages_of(domain.grants);
        if (domain.state != "running") return false;  // what was being created is undone
      }
      const u64 wants = a->page->balloon()->target, total = balloon_mib * mib_pages, has = held_by(next, "a");
      return has == std::min(wants, total - others) && next->epc().count.free == total - others - has;
    });
    for (const DomainInfo& domain : next->list()) EXPECT_TRUE(next->destroy(domain.name)) << domain.name;
    EXPECT_EQ(next->epc().count.free, balloon_mib * mib_pages);
    while (::waitpid(-1, nullptr, 0) > 0) continue;
    EXPECT_EQ(next.left(), "");
  }
  EXPECT_GT(deaths, 10u);
}

}  // namespace
}  // namespace cloister::tests
