// How EPC is shared: what must hold of every decision, against many machines at random, and what follows for domains
// that use their EPC and others that do not.
#include "machine/epc/balance.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "sanitized.hpp"

namespace cloister::toolstack {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Ge;
using Time = EpcBalance::Clock::time_point;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr u64 mib = epc_chunk;
constexpr milliseconds period(250);

u64 sum(const std::vector<u64>& pages) { return std::accumulate(pages.begin(), pages.end(), u64{0}); }

std::vector<EpcSharer> some_sharers(std::mt19937& random) {
  std::vector<EpcSharer> sharers(1 + random() % 8);
  u32 id = 0;
  for (EpcSharer& sharer : sharers) {
    sharer.id = ++id;
    sharer.min = (1 + random() % 16) * mib;
    sharer.most = sharer.min + (random() % 64) * mib;
    sharer.held = sharer.min;
    sharer.active = random() % (sharer.most + 1);
    sharer.weight = 1 + random() % 500;
    sharer.wants = random() % 2 == 0;
  }
  return sharers;
}

TEST(ShareEpc, IsWithinAllLimitsAndLeavesNothingThatAnybodyCouldHave) {
  std::mt19937 random(1);
  for (unsigned round = 0; round < 2000; ++round) {
    const auto sharers = some_sharers(random);
    u64 minima = 0, most = 0;
    for (const EpcSharer& sharer : sharers) {
      minima += sharer.min;
      most += sharer.most;
    }
    const u64 frames = minima + random() % (100 * mib);
    const auto targets = share_epc(frames, sharers);
    ASSERT_EQ(targets.size(), sharers.size());
    ASSERT_LE(sum(targets), frames);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      ASSERT_GE(targets[i], sharers[i].min);
      ASSERT_LE(targets[i], sharers[i].most);
      ASSERT_EQ(targets[i] % mib, 0u);
    }
    ASSERT_TRUE(sum(targets) + mib > frames || sum(targets) == most);
    ASSERT_EQ(targets, share_epc(frames, sharers)) << "the same for the same";
  }
}

TEST(ShareEpc, LeavesEachItsMinimumWhateverThereIs) {
  const std::vector<EpcSharer> two{{.id = 1, .min = 4 * mib, .most = 8 * mib},
                                   {.id = 2, .min = 2 * mib, .most = 8 * mib}};
  EXPECT_THAT(share_epc(0, two), ElementsAre(4 * mib, 2 * mib));
  EXPECT_THAT(share_epc(3 * mib, two), ElementsAre(4 * mib, 2 * mib));
  EXPECT_TRUE(share_epc(100, {}).empty());
}

/// Who uses its pages has more than who does not, by the tax; more weight is never less EPC.
TEST(ShareEpc, GoesWhereItIsUsedAndByWeight) {
  const EpcSharer one{.id = 1, .min = mib, .most = 200 * mib, .wants = true};
  EpcSharer idle = one, heavy = one;
  idle.id = heavy.id = 2;
  idle.wants = false;
  heavy.weight = 300;
  EXPECT_THAT(share_epc(100 * mib, std::vector{one, idle}), ElementsAre(80 * mib, 20 * mib)) << "four to one";
  EXPECT_THAT(share_epc(100 * mib, std::vector{one, heavy}), ElementsAre(25 * mib, 75 * mib)) << "one to three";
  std::mt19937 random(2);
  for (unsigned round = 0; round < 500; ++round) {
    auto sharers = some_sharers(random);
    const u64 frames = 200 * mib;
    const std::size_t which = random() % sharers.size();
    const u64 before = share_epc(frames, sharers)[which];
    sharers[which].weight *= 2;
    ASSERT_GE(share_epc(frames, sharers)[which], before);
  }
}

/// Domains that use so many pages each: they fault while they have less, and have what they are to have at once.
class World {
 public:
  World(u64 frames, std::vector<u64> uses, u64 min = 2 * mib, u64 most = 64 * mib)
      : frames_(frames), uses_(std::move(uses)) {
    for (u32 id = 1; id <= uses_.size(); ++id) sharers_.push_back({.id = id, .min = min, .most = most, .held = min});
  }
  void run(std::chrono::milliseconds time) {
    for (const Time end = now_ + time; now_ < end; now_ += period) {
      for (std::size_t i = 0; i < uses_.size(); ++i) {
        sharers_[i].active = std::min(uses_[i], sharers_[i].held);
        // An access in so many misses as pages are missing; each domain makes 4000 in a tick.
        if (uses_[i] > sharers_[i].held) sharers_[i].faults += 4000 * (uses_[i] - sharers_[i].held) / uses_[i];
      }
      const auto decision = balance_.tick(now_, frames_, sharers_);
      EXPECT_LE(sum(decision.targets), frames_);
      thrashes_ += decision.thrash;
      u64 free = frames_;
      for (const EpcSharer& sharer : sharers_) free -= sharer.held;
      const auto moves = epc_moves(free, 0, 0, sharers_, decision);
      for (std::size_t i = 0; i < uses_.size(); ++i) {
        EXPECT_LE(moves[i].lend, free);
        free -= moves[i].lend;
        sharers_[i].held += moves[i].lend;
        sharers_[i].held -= moves[i].take;
        moved_ += moves[i].lend + moves[i].take;
      }
    }
  }
  std::vector<u64> held() const {
    std::vector<u64> all;
    for (const EpcSharer& sharer : sharers_) all.push_back(sharer.held);
    return all;
  }
  u64 moved_ = 0;
  unsigned thrashes_ = 0;
  std::vector<u64>& uses() { return uses_; }

 private:
  u64 frames_;
  std::vector<u64> uses_;
  std::vector<EpcSharer> sharers_;
  EpcBalance balance_;
  Time now_{seconds(1000)};
};

TEST(EpcBalance, OfWhatFitsEveryDomainHasWhatItUses) {
  World world(64 * mib, {30 * mib, 4 * mib, 10 * mib});
  world.run(seconds(20));
  EXPECT_THAT(world.held()[0], Ge(30 * mib));
  EXPECT_THAT(world.held()[1], Ge(4 * mib));
  EXPECT_THAT(world.held()[2], Ge(10 * mib));
  const u64 moved = world.moved_;
  world.run(seconds(60));
  EXPECT_EQ(world.moved_, moved) << "it rests";
  // Now another one works.
  world.uses() = {4 * mib, 36 * mib, 4 * mib};
  world.run(seconds(30));
  EXPECT_THAT(world.held()[1], Ge(36 * mib)) << "though idle pages are taxed, and not taken";
  const u64 then = world.moved_;
  world.run(seconds(60));
  EXPECT_EQ(world.moved_, then);
  EXPECT_EQ(world.thrashes_, 0u);
}

TEST(EpcBalance, DoesNotOscillate) {
  std::mt19937 random(3);
  for (unsigned round = 0, rounds = is_sanitized() ? 10 : 100; round < rounds; ++round) {
    std::vector<u64> uses(2 + random() % 5);
    for (u64& pages : uses) pages = random() % (40 * mib);
    World world((4 * uses.size() + random() % 64) * mib, uses);
    world.run(seconds(60));
    const u64 moved = world.moved_;
    world.run(seconds(120));
    EXPECT_LE(world.moved_ - moved, 16 * mib) << "round " << round;
  }
}

TEST(EpcBalance, WhoHasAllThatItSeesAndFaultsIsNoSignOfShortage) {
  World world(64 * mib, {60 * mib}, 2 * mib, 8 * mib);
  world.run(seconds(20));
  EXPECT_THAT(world.held(), ElementsAre(8 * mib));
  EXPECT_EQ(world.thrashes_, 0u);
}

TEST(EpcBalance, StandsStillWhenAllWantMoreThanThereIs) {
  World world(16 * mib, {60 * mib, 60 * mib});
  world.run(seconds(5));
  EXPECT_THAT(world.held(), ElementsAre(8 * mib, 8 * mib));
  EXPECT_EQ(world.thrashes_, 1u) << "told once";
  world.run(seconds(60));
  EXPECT_THAT(world.held(), ElementsAre(8 * mib, 8 * mib));
  EXPECT_EQ(world.thrashes_, 1u);
  world.uses() = {mib, 60 * mib};
  world.run(seconds(20));
  EXPECT_THAT(world.held()[1], Ge(12 * mib)) << "it has let go";
}

TEST(EpcBalance, MovesWholeChunks) {
  constexpr u64 chunk = 4 * mib;
  const std::vector<EpcSharer> two{{.id = 1, .min = 2 * mib, .most = 9 * mib, .held = 2 * mib, .wants = true},
                                   {.id = 2, .min = mib, .most = 64 * mib, .held = mib}};
  EXPECT_THAT(share_epc(20 * mib, two, chunk), ElementsAre(9 * mib, 9 * mib))
      << "the last one's is what is left of what it sees";
  EXPECT_THAT(share_epc(6 * mib, two, chunk), ElementsAre(2 * mib, mib));
  const EpcBalance::Decision decision{.targets = {9 * mib, 9 * mib}, .wants = {true, false}};
  EXPECT_EQ(epc_moves(5 * mib, 0, 0, two, decision, chunk)[0].lend, 5 * mib);
}

TEST(EpcBalance, MakesNoSmallChanges) {
  EpcBalance balance;
  std::vector<EpcSharer> sharers{{.id = 1, .min = mib, .most = 64 * mib, .held = 8 * mib, .active = 4 * mib},
                                 {.id = 2, .min = mib, .most = 64 * mib, .held = 8 * mib, .active = 4 * mib}};
  Time now{seconds(1)};
  const auto first = balance.tick(now, 16 * mib, sharers).targets;
  EXPECT_THAT(first, ElementsAre(8 * mib, 8 * mib));
  sharers[0].active = 5 * mib;
  EXPECT_EQ(balance.tick(now += period, 16 * mib, sharers).targets, first);
  sharers[0].active = 8 * mib;
  EXPECT_GE(balance.tick(now += period, 16 * mib, sharers).targets[0], 10 * mib);
  // A minimum that is another one holds at once.
  sharers[1].min = 12 * mib;
  EXPECT_GE(balance.tick(now += period, 16 * mib, sharers).targets[1], 12 * mib);
}

TEST(EpcBalance, BelievesWhoHasFaultedForAWhile) {
  EpcBalance balance;
  std::vector<EpcSharer> one{{.id = 1, .min = mib, .most = 64 * mib, .held = mib}};
  Time now{seconds(1)};
  const auto wants = [&](u64 more) -> bool {
    one[0].faults += more;
    return balance.tick(now += period, 16 * mib, one).wants[0];
  };
  EXPECT_FALSE(wants(1000)) << "what it did before it was seen says nothing";
  EXPECT_FALSE(wants(5));
  EXPECT_TRUE(wants(100));
  for (unsigned tick = 0; tick < 8; ++tick) EXPECT_TRUE(wants(0));
  EXPECT_FALSE(wants(0)) << "two seconds of quiet";
}

TEST(EpcMoves, GoToWhoWantsOrLacksItsMinimum) {
  const std::vector<EpcSharer> sharers{{.id = 1, .min = 2 * mib, .most = 64 * mib, .held = 10 * mib},
                                       {.id = 2, .min = 2 * mib, .most = 64 * mib, .held = 4 * mib},
                                       {.id = 3, .min = 2 * mib, .most = 64 * mib, .held = mib}};
  const EpcBalance::Decision decision{.targets = {4 * mib, 8 * mib, 6 * mib}, .wants = {false, true, false}};
  const auto moves = [&](u64 free, u64 claimed, u64 coming) {
    std::vector<std::pair<u64, u64>> all;
    for (const EpcMove& move : epc_moves(free, claimed, coming, sharers, decision))
      all.emplace_back(move.lend, move.take);
    return all;
  };
  using Moves = std::vector<std::pair<u64, u64>>;
  EXPECT_EQ(moves(20 * mib, 0, 0), (Moves{{0, 0}, {4 * mib, 0}, {mib, 0}})) << "none is taken that nobody needs";
  EXPECT_EQ(moves(2 * mib, 0, 0), (Moves{{0, 3 * mib}, {mib, 0}, {mib, 0}}));
  EXPECT_EQ(moves(0, 0, 3 * mib), (Moves{{0, 2 * mib}, {0, 0}, {0, 0}})) << "3 MiB come already";
  EXPECT_EQ(moves(2 * mib, 20 * mib, 0), (Moves{{0, 6 * mib}, {0, 0}, {0, 0}})) << "who waits is first";
}

}  // namespace
}  // namespace cloister::toolstack
