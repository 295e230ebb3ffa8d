// Frames that move between domains whose EPC is paged: what the accounts and the records say of them, whatever a VMM
// answers, and whatever a daemon leaves behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <thread>

#include "arch/sizes.hpp"
#include "unit/daemon/doomed_daemon.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

/// The request for a domain that sees so many MiB of EPC, and has at least so many.
CreateRequest paged(const TestDaemon& daemon, const std::string& name, const std::string& word, u64 epc, u64 min) {
  CreateRequest request = daemon.request(name, word);
  const std::string before = "epc = 1\n";
  request.config.replace(request.config.find(before), before.size(),
                         "epc = " + std::to_string(epc) + "\nepc_min = " + std::to_string(min) + "\n");
  return request;
}

constexpr u64 doomed_mib = 8;

}  // namespace

/// Frames are lent to one domain; then another one, and one that is not paged, have theirs of these.
int run_doomed_sharing(const std::string& folder, int point) {
  TestDaemon daemon(folder);
  daemon.machine.packages[0].epc[0].bytes = doomed_mib << 20;
  if (!daemon.start() || !daemon->add(paged(daemon, "a", "wants", 8, 1))) return 1;
  daemon.faults.die(point);
  const auto held = [&] { return pages_of(daemon->find("a")->grants); };
  while (held() < doomed_mib * arch::pages_per_mib) continue;
  if (!daemon->add(paged(daemon, "b", "", 4, 3)) || !daemon.add("c")) return 1;
  while (held() < 4 * arch::pages_per_mib) continue;
  ::_exit(0);
}

namespace {

using ::testing::HasSubstr;

constexpr u64 pages_of_mib = arch::pages_per_mib;

class Sharing : public testing::Test {
 protected:
  /// Of so many MiB.
  void begin(u64 machine_mib) {
    daemon_.machine.packages[0].epc[0].bytes = machine_mib << 20;
    daemon_.restart();
  }
  Domains::Result add(const std::string& name, const std::string& word, u64 epc = 8, u64 min = 1) {
    return daemon_->add(paged(daemon_, name, word, epc, min));
  }
  u64 held(const std::string& name) const {
    const auto domain = daemon_->find(name);
    return domain ? pages_of(domain->grants) : 0;
  }
  u64 free() const { return daemon_->epc().count.free; }
  DomainRecord record(const std::string& name) const {
    const auto records = daemon_.registry().read();
    for (const DomainRecord& one : records->domains) {
      if (one.name == name) return one;
    }
    return {};
  }
  /// All frames are free or one domain's, and the records say the same: they move between one look and the next, so
  /// that is seen once.
  void expect_balance(const std::vector<std::string>& names) const {
    wait_for([&] {
      u64 sum = free();
      bool same = true;
      for (const std::string& name : names) {
        const u64 pages = held(name);
        sum += pages;
        same = same && pages_of(record(name).grants) == pages;
      }
      return same && sum == daemon_->epc().count.total;
    });
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(Sharing, WhoWantsEpcHasWhatIsLeft) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  ASSERT_TRUE(add("b", ""));
  wait_for([&] { return held("a") == 7 * pages_of_mib; });
  EXPECT_EQ(held("b"), pages_of_mib);
  expect_balance({"a", "b"});
  ASSERT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(free(), 7 * pages_of_mib);
}

TEST_F(Sharing, ByWeightAndTheMinimumThatIsSaid) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("a") == 4 * pages_of_mib && held("b") == 4 * pages_of_mib; });
  ASSERT_TRUE(daemon_->change_epc("a", {.min_mib = 6, .weight = {}}));
  wait_for([&] { return held("a") >= 6 * pages_of_mib && held("b") <= 2 * pages_of_mib; });
  EXPECT_EQ(daemon_->change_epc("b", {.min_mib = 3, .weight = {}}).error().status, 507);
  ASSERT_TRUE(daemon_->change_epc("a", {.min_mib = 1, .weight = 1}));
  ASSERT_TRUE(daemon_->change_epc("b", {.min_mib = {}, .weight = 300}));
  wait_for([&] { return held("b") >= 6 * pages_of_mib; });
  daemon_.restart();
  const auto again = daemon_->find("b");
  ASSERT_TRUE(again && again->paged);
  EXPECT_EQ(again->paged->weight, 300u);
}

TEST_F(Sharing, ADomainThatStartsHasItsOwnOfWhatWasLent) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  const auto other = add("other", "", 4, 3);
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(held("other"), 3 * pages_of_mib);
  wait_for([&] { return held("a") == 5 * pages_of_mib; });
  const auto whole = daemon_.add("whole");
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_THAT(add("more", "", 8, 5).error().message, HasSubstr("EPC"));
  expect_balance({"a", "other", "whole"});
}

/// As the accounts have what a domain gets, nobody waits for it any more: a look between the two would take it again
/// from who shares.
TEST_F(Sharing, NoMoreIsTakenBackThanADomainThatStartsNeeds) {
  daemon_.patience.share = std::chrono::milliseconds(1);
  begin(16);
  ASSERT_TRUE(add("a", "wants", 16));
  wait_for([&] { return held("a") == 16 * pages_of_mib; });
  constexpr unsigned starts = 12;
  for (unsigned i = 0; i < starts; ++i) {
    const auto one = daemon_.add("n" + std::to_string(i));
    ASSERT_TRUE(one) << one.error().message;
  }
  wait_for([&] { return held("a") == (16 - starts) * pages_of_mib; });
  EXPECT_EQ(daemon_->find("a")->page->epc()->evictions, starts * pages_of_mib);
}

TEST_F(Sharing, TheReserveIsNobodysMinimum) {
  daemon_.machine.overcommit.reserve_mib = 2;
  begin(8);
  ASSERT_TRUE(add("a", "wants", 8, 3));
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  EXPECT_THAT(add("b", "", 8, 4).error().message,
              HasSubstr("package 0 3 MiB can be had beside what domains keep and a reserve of 2 MiB"));
  const auto b = add("b", "", 4, 2);
  ASSERT_TRUE(b) << b.error().message;
  EXPECT_EQ(daemon_->change_epc("b", {.min_mib = 3, .weight = {}})->paged->min, 3 * pages_of_mib);
  const auto refused = daemon_->change_epc("a", {.min_mib = 4, .weight = {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 507);
  EXPECT_THAT(refused.error().message,
              HasSubstr("'min_mib': found 4; of package 0, which has 8 MiB, it can have 3 MiB: "
                        "3 MiB are others', 2 MiB are in reserve"));
  EXPECT_EQ(daemon_.add("c").error().status, 507);
  ASSERT_TRUE(daemon_->change_epc("a", {.min_mib = 1, .weight = {}}));
  const auto c = daemon_.add("c");
  ASSERT_TRUE(c) << c.error().message;
  // What is in reserve is shared all the same.
  wait_for([&] { return held("a") + held("b") == 7 * pages_of_mib; });
  EXPECT_THAT(daemon_->define({.name = "d", .as = paged(daemon_, "d", "", 9, 7)}).error().message,
              HasSubstr("of each of which 2 MiB are in reserve"));
}

/// Not even for a while.
TEST_F(Sharing, WhatIsKeptForVersionsIsNotShared) {
  daemon_.machine.versions_mib = 2;
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  wait_for([&] { return held("a") == 6 * pages_of_mib; });
  EXPECT_THAT(add("b", "", 8, 6).error().message, HasSubstr("and a reserve of 2 MiB"));
  const auto b = add("b", "", 8, 5);
  ASSERT_TRUE(b) << b.error().message;
  EXPECT_EQ(daemon_.add("c").error().status, 507);
  EXPECT_EQ(free(), 2 * pages_of_mib);
}

TEST_F(Sharing, NoMinimumIsPromisedOfWhatADomainThatStartsWaitsFor) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  const int vmm = daemon_->find("a")->pid;
  ASSERT_EQ(::kill(vmm, SIGSTOP), 0);
  auto starts = std::async(std::launch::async, [&] { return add("b", "", 8, 5); });
  wait_for([&] { return daemon_->find("a")->paged->target <= 3 * pages_of_mib; });
  const auto refused = daemon_->change_epc("a", {.min_mib = 4, .weight = {}});
  EXPECT_TRUE(daemon_->change_epc("a", {.min_mib = 3, .weight = {}}));
  ASSERT_EQ(::kill(vmm, SIGCONT), 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 507);
  const auto b = starts.get();
  EXPECT_TRUE(b) << b.error().message;
}

TEST_F(Sharing, DomainsSeeNoMoreThanTheRatio) {
  daemon_.machine.overcommit.ratio = 2;
  begin(8);
  ASSERT_TRUE(add("a", "", 8));
  ASSERT_TRUE(add("b", "", 7));
  EXPECT_THAT(add("c", "", 2).error().message,
              HasSubstr("would see 17 MiB, which is more than 2 times the 8 MiB that it has"));
  ASSERT_TRUE(daemon_.add("c"));
  EXPECT_EQ(daemon_.add("d").error().status, 507);
}

TEST_F(Sharing, FramesMoveByChunks) {
  daemon_.machine.overcommit.chunk_mib = 3;
  begin(9);
  ASSERT_TRUE(add("a", "wants", 12));
  wait_for([&] { return held("a") == 7 * pages_of_mib; });
  EXPECT_EQ(daemon_->find("a")->paged->target, 7 * pages_of_mib) << "two chunks beside its own";
}

TEST_F(Sharing, SeveralSectionsOfAPackageShareAsOne) {
  begin(8);
  CreateRequest request = paged(daemon_, "a", "wants", 8, 2);
  const std::string whole = "epc = 8\n";
  request.config.replace(request.config.find(whole), whole.size(), "epc = ['size=2', 'size=6']\n");
  ASSERT_TRUE(daemon_->add(request));
  EXPECT_EQ(daemon_->find("a")->grants.size(), 2u);
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("a") == 4 * pages_of_mib && held("b") == 4 * pages_of_mib; });
  expect_balance({"a", "b"});
}

/// Of each package it has its part of the minimum, and no more while it wants no more.
TEST_F(Sharing, OfSeveralPackagesADomainHasItsMinimum) {
  daemon_.machine.packages = {daemon_.machine.packages[0], daemon_.machine.packages[0]};
  daemon_.machine.packages[1].epc[0].base += u64{1} << 32;
  begin(8);
  daemon_.machine.packages[1].epc[0].bytes = 8 << 20;
  daemon_.restart();
  CreateRequest request = paged(daemon_, "a", "", 12, 6);
  const std::string whole = "epc = 12\n";
  request.config.replace(request.config.find(whole), whole.size(), "epc = ['size=4,package=0', 'size=8,package=1']\n");
  ASSERT_TRUE(daemon_->add(request));
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("b") == 4 * pages_of_mib; });
  const auto a = daemon_->find("a");
  EXPECT_EQ(pages_of({a->grants[0]}), 2 * pages_of_mib);
  EXPECT_EQ(pages_of({a->grants[1]}), 4 * pages_of_mib);
  EXPECT_EQ(a->grants[1].package, 1u);
  EXPECT_EQ(a->listed.size(), 2u);
  EXPECT_EQ(daemon_->epc().packages[0].count.free, 6 * pages_of_mib);
  EXPECT_EQ(daemon_->epc().packages[1].count.free, 0u);
  const auto refused = daemon_->change_epc("a", {.min_mib = 11, .weight = {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 507);
  EXPECT_THAT(refused.error().message, HasSubstr("of package 1"));
}

/// What it has of a package beyond its part of the minimum is lent, and comes back from there.
TEST_F(Sharing, OfSeveralPackagesEachIsShared) {
  daemon_.machine.packages = {daemon_.machine.packages[0], daemon_.machine.packages[0]};
  daemon_.machine.packages[1].epc[0].base += u64{1} << 32;
  for (auto& package : daemon_.machine.packages) package.epc[0].bytes = 8 << 20;
  daemon_.restart();
  const auto of_both = [&](const std::string& name, const std::string& epc, u64 min) {
    CreateRequest request = paged(daemon_, name, "wants", 8, min);
    const std::string whole = "epc = 8\n";
    request.config.replace(request.config.find(whole), whole.size(), "epc = [" + epc + "]\n");
    return daemon_->add(request);
  };
  const auto has = [&](const std::string& name, u32 package) {
    u64 pages = 0;
    const auto domain = daemon_->find(name);
    for (const EpcGrant& grant : domain->grants) pages += grant.package == package ? pages_of({grant}) : 0;
    return pages;
  };
  ASSERT_TRUE(of_both("a", "'size=6,package=0', 'size=6,package=1'", 2));
  wait_for([&] { return has("a", 0) == 6 * pages_of_mib && has("a", 1) == 6 * pages_of_mib; });
  ASSERT_TRUE(of_both("b", "'size=8,package=1'", 1));
  wait_for([&] { return has("b", 1) == 4 * pages_of_mib; });
  EXPECT_EQ(has("a", 1), 4 * pages_of_mib);
  EXPECT_EQ(has("a", 0), 6 * pages_of_mib) << "of this package nobody else wants any";
  ASSERT_TRUE(daemon_->change_epc("a", {.min_mib = 10, .weight = {}}));
  wait_for([&] { return has("a", 1) >= 5 * pages_of_mib; });
  EXPECT_EQ(daemon_->change_epc("b", {.min_mib = 4, .weight = {}}).error().status, 507);
  const auto shown = daemon_->find("a");
  ASSERT_TRUE(shown && shown->paged);
  EXPECT_GE(shown->paged->target, 10 * pages_of_mib);
  expect_balance({"a", "b"});
}

/// What it was granted and never got comes back, and it is tried again.
TEST_F(Sharing, FramesThatAVmmNeverGotAreFoundAgain) {
  begin(8);
  ASSERT_TRUE(add("a", "wants-deaf"));
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("b") >= 4 * pages_of_mib; });
  wait_for([&] { return held("a") == pages_of_mib; });
  daemon_.stop();
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return held("a") == pages_of_mib; });
}

TEST_F(Sharing, FramesOfWhichNobodyHeardThatTheyWereGivenAreFoundAgain) {
  begin(8);
  ASSERT_TRUE(add("a", "gives-and-hangs-up"));
  ASSERT_TRUE(add("b", ""));
  // As if an earlier daemon had lent them: its record says so, and the VMM has not got them.
  daemon_.stop();
  DomainRecord lent = record("a");
  lent.grants.front().extents.push_back(
      {lent.grants.front().extents.back().first + 3 * pages_of_mib, 2 * pages_of_mib});
  ASSERT_TRUE(daemon_.registry().put(lent));
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return held("a") == pages_of_mib; });
  expect_balance({"a", "b"});
}

/// A VMM that was taken over frees no frame of a neighbour's.
TEST_F(Sharing, ForeignFramesStayWhoseTheyAre) {
  begin(8);
  ASSERT_TRUE(add("victim", ""));
  ASSERT_TRUE(add("liar", "liar", 8, 4));
  const auto before = daemon_->find("victim")->grants;
  ASSERT_TRUE(daemon_->change_epc("liar", {.min_mib = 1, .weight = {}}));
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("liar") < 4 * pages_of_mib; });
  EXPECT_EQ(daemon_->find("victim")->grants, before);
  expect_balance({"victim", "liar", "b"});
  // It may have ended by itself: a build with assertions finds it lying.
  (void)daemon_->destroy("liar");
  daemon_.wait_until("liar", "");
  expect_balance({"victim", "b"});
}

/// The memory of what goes back goes with it.
TEST_F(Sharing, FramesThatGoTakeTheirMemoryWithThem) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  const auto memory = daemon_->find("a")->memory;
  ASSERT_NE(memory, nullptr);
  const auto taken = [&] {
    struct stat status {};
    ::fstat(memory->pages_descriptor(), &status);
    return static_cast<u64>(status.st_blocks) * 512;
  };
  const std::string full(8 << 20, 'x');
  ASSERT_EQ(::pwrite(memory->pages_descriptor(), full.data(), full.size(), 0), static_cast<ssize_t>(full.size()));
  EXPECT_EQ(taken(), 8u << 20);
  ASSERT_TRUE(add("b", "wants"));
  wait_for([&] { return held("a") == 4 * pages_of_mib; });
  EXPECT_EQ(taken(), 4u << 20);
}

/// A VMM that was taken over could fill the files as far as the machine's EPC is large.
TEST_F(Sharing, WhoTakesMemoryBeyondWhatIsItsOwnIsEnded) {
  begin(8);
  const std::string page(arch::page_size, 'x');
  const auto write = [&](int file, u64 index) {
    ASSERT_EQ(::pwrite(file, page.data(), page.size(), static_cast<off_t>(index * arch::page_size)),
              static_cast<ssize_t>(page.size()));
  };
  // All that is its own, and the entries of the groups: nothing happens.
  ASSERT_TRUE(add("a", "", 8, 1));
  ASSERT_TRUE(daemon_.add("static"));
  const auto fill = [&](const std::string& name) {
    const auto domain = daemon_->find(name);
    const auto rows = rows_in_memory(sections_of(domain->grants), domain->listed);
    ASSERT_EQ(rows.size(), 1u);
    for (u64 i = 0; i < rows[0].pages; ++i) write(domain->memory->pages_descriptor(), rows[0].first + i);
    for (u64 group = 0; group <= rows[0].pages / 64 - 1; ++group)
      write(domain->memory->epcm_descriptor(), 1 + rows[0].first / 64 + group);
  };
  fill("a");
  fill("static");
  const auto looked = [&] { std::this_thread::sleep_for(20 * daemon_.patience.share); };
  looked();
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_EQ(daemon_.shown("static"), "running");
  write(daemon_->find("a")->memory->pages_descriptor(), 7 * pages_of_mib);
  daemon_.wait_until("a", "");
  EXPECT_EQ(daemon_->epc().ended, 1u);
  write(daemon_->find("static")->memory->epcm_descriptor(), 1 + 7 * pages_of_mib / 64);
  daemon_.wait_until("static", "");
  EXPECT_EQ(daemon_->epc().ended, 2u);
  EXPECT_EQ(free(), 8 * pages_of_mib);
}

TEST_F(Sharing, OfAVmmThatDiesAllIsFree) {
  begin(8);
  ASSERT_TRUE(add("a", "wants"));
  wait_for([&] { return held("a") == 8 * pages_of_mib; });
  daemon_.kill("a");
  daemon_.wait_until("a", "");
  EXPECT_EQ(free(), 8 * pages_of_mib) << "a dead domain's frames are free, lent or not";
  EXPECT_EQ(daemon_.left(), "");
}

/// Whatever the daemon was about when it died, the next one finds every frame a domain's or free.
TEST_F(Sharing, ADaemonThatDiesMeanwhileLosesNoFrame) {
  unsigned deaths = 0;
  for (int point = 1, status = Faults::died; status != 0; ++point) {
    SCOPED_TRACE("point " + std::to_string(point));
    const Folder folder;
    status = doom(folder.path(), doomed_sharing + point);
    ASSERT_TRUE(status == 0 || status == Faults::died) << status;
    deaths += status != 0;
    TestDaemon next(folder.path());
    next.machine.packages[0].epc[0].bytes = doomed_mib << 20;
    next.restart();
    std::vector<std::string> names;
    const auto held = [&] {
      u64 pages = 0;
      names.clear();
      for (const DomainInfo& domain : next->list()) {
        names.push_back(domain.name);
        pages += domain.state == "running" ? pages_of(domain.grants) : 0;  // what was being created is undone
      }
      return pages;
    };
    // The first one wants all that is left, and has it once the others have theirs, or have been undone; but that for
    // so little as is left then nothing changes.
    wait_for([&] {
      const u64 free = next->epc().count.free;
      return free < EpcBalance::hysteresis * epc_chunk && held() + free == doomed_mib * pages_of_mib;
    });
    for (const std::string& name : names) EXPECT_TRUE(next->destroy(name)) << name;
    EXPECT_EQ(next->epc().count.free, doomed_mib * pages_of_mib);
    while (::waitpid(-1, nullptr, 0) > 0) continue;
    EXPECT_EQ(next.left(), "");
  }
  EXPECT_GT(deaths, 10u);
}

}  // namespace
}  // namespace cloister::tests
