// EPC of which every page has its frame, against a package: what is free is given, what is in use is not, and no frame
// is lost or found twice (docs/hypercalls.md).
#include "hypervisor/epc/fixed_epc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::Gpa;
using arch::Mfn;
constexpr u64 pages = 64;
constexpr Gpa base{0x1'0000'0000};
constexpr Mfn first{0x10'0000}, other_section{0x20'0000};
constexpr Mfn faulty{first.value + 5};

/// As a domain's: one caller has it closed, and others wait.
struct OneAtATime final : Gate {
  void close() override { mutex.lock(); }
  void open() override { mutex.unlock(); }
  std::mutex mutex;
};

class FixedEpcTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(memory_->map_epc(base, first, pages / 2));
    ASSERT_TRUE(memory_->map_epc(at(pages / 2), other_section, pages / 2));
  }
  static Gpa at(u64 page) { return base + page * arch::page_size; }
  static std::vector<Gpa> pages_from(u64 page, u64 count) {
    std::vector<Gpa> list;
    for (u64 i = 0; i < count; ++i) list.push_back(at(page + i));
    return list;
  }
  u64 needs() const { return counts_.needs[0]; }
  u64 held() const { return FrameSet(epc_.held()[0]).pages(); }
  std::optional<BalloonError> give(std::vector<Gpa> list) { return epc_.give(list).stopped; }
  std::optional<BalloonError> take(std::vector<Gpa> list) { return epc_.take(list).stopped; }

  const std::vector<vmx::EpcSection> sections_{{first, pages / 2}, {other_section, pages / 2}};
  silicon::Package package_{{.epc = sections_, .root_secret = {1}, .boot = 1, .faulty_frames = {faulty}}};
  std::unique_ptr<vmx::GuestMemory> memory_ = package_.make_memory();
  OneAtATime gate_;
  Mutex handlers_;
  RootLeaves leaves_;
  BalloonCounts counts_;
  FixedEpc epc_{{.package = package_,
                 .memory = *memory_,
                 .pages = EpcPages({{.base = base, .bytes = pages * arch::page_size, .node = 0}}),
                 .frames = {sections_},
                 .gate = gate_,
                 .handlers = handlers_,
                 .leaves = leaves_,
                 .counts = &counts_}};
};

TEST_F(FixedEpcTest, APageHasTheFrameThatItIsMappedTo) {
  EXPECT_EQ(epc_.frame_of(at(3) + 77), first + 3);
  EXPECT_EQ(epc_.frame_of(at(pages / 2)), other_section);
  EXPECT_EQ(epc_.frame_of(at(pages)), std::nullopt);
  EXPECT_EQ(give({at(3), at(40)}), std::nullopt);
  EXPECT_EQ(epc_.given(), 2u);
  EXPECT_EQ(epc_.frame_of(at(3) + 77), std::nullopt);
  EXPECT_EQ(memory_->unmap_epc(at(3)), std::nullopt) << "it is not mapped";
  // The frame that was given last is the first that is taken.
  EXPECT_EQ(take({at(3)}), std::nullopt);
  EXPECT_EQ(epc_.frame_of(at(3)), other_section + 8);
  EXPECT_EQ(epc_.given(), 1u);
}

TEST_F(FixedEpcTest, WhatIsInUseStaysMapped) {
  ASSERT_FALSE(package_.encls(EnclsLeaf::epa, {.page = first + 7}).fault);
  EXPECT_EQ(give({at(6), at(7), at(8)}), BalloonError::in_use);
  EXPECT_EQ(epc_.given(), 1u);
  for (const u64 page : {7, 8}) EXPECT_EQ(memory_->unmap_epc(at(page)), first + page);
}

/// EPA has shown that it was free, and EREMOVE fails from then on (a machine check): it is nobody's any more.
TEST_F(FixedEpcTest, AFrameThatFailsIsWithdrawn) {
  EXPECT_EQ(give({at(4), at(5), at(6)}), BalloonError::stuck);
  EXPECT_EQ(epc_.given(), 2u);
  EXPECT_EQ(epc_.frame_of(at(5)), std::nullopt);
  EXPECT_EQ(epc_.frame_of(at(6)), first + 6);
  EXPECT_EQ(take({at(4), at(5)}), BalloonError::no_frame) << "one frame came back for the two pages";
  EXPECT_EQ(epc_.frame_of(at(4)), first + 4);
}

TEST_F(FixedEpcTest, NoFrameIsLostOrFoundTwiceWhenProcessorsGiveAndTakeTogether) {
  std::vector<std::jthread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed);
      for (unsigned i = 0; i < 1000; ++i) {
        std::vector<Gpa> list;
        for (u64 page = random() % 8 + 8; page < pages; page += random() % 9 + 1) list.push_back(at(page));
        random() % 2 == 0 ? epc_.give(list) : epc_.take(list);
      }
    });
  }
  threads.clear();
  std::set<Mfn> frames;
  u64 there = 0;
  for (u64 page = 0; page < pages; ++page) {
    const auto frame = epc_.frame_of(at(page));
    EXPECT_EQ(memory_->unmap_epc(at(page)), frame);
    if (!frame) continue;
    ++there;
    frames.insert(*frame);
  }
  EXPECT_EQ(frames.size(), there);
  EXPECT_EQ(epc_.given(), pages - there);
}

/// Spare frames go, and others come for what the guest takes again.
TEST_F(FixedEpcTest, FramesThatWereGivenGoAndOthersCome) {
  EXPECT_EQ(give(pages_from(10, 4)), std::nullopt);
  EXPECT_EQ(needs(), pages - 4);
  const auto gone = epc_.give_back(3);
  EXPECT_EQ(FrameSet(gone).pages(), 3u);
  EXPECT_EQ(gone.front().first, first + 11) << "what was given last, whose memory the host has given, goes first";
  EXPECT_EQ(held(), pages - 3);
  EXPECT_EQ(take(pages_from(10, 2)), BalloonError::no_frame);
  EXPECT_EQ(epc_.frame_of(at(10)), first + 10);
  EXPECT_EQ(needs(), pages - 2) << "what it tried to take, too";
  const vmx::EpcSection others[] = {{other_section + 100, 2}};
  epc_.lend(0, others);
  EXPECT_EQ(FrameSet(epc_.give_back(100)).pages(), 1u) << "one is wanted";
  EXPECT_EQ(take(pages_from(11, 1)), std::nullopt);
  EXPECT_EQ(epc_.frame_of(at(11)), other_section + 100);
  EXPECT_EQ(needs(), pages - 2);
  EXPECT_EQ(held(), pages - 2);
}

TEST_F(FixedEpcTest, WhatItIsAskedToHaveIsWantedAndKept) {
  EXPECT_EQ(give(pages_from(10, 8)), std::nullopt);
  EXPECT_EQ(FrameSet(epc_.give_back(6)).pages(), 6u);
  epc_.want(pages - 3);
  EXPECT_EQ(needs(), pages - 3);
  EXPECT_TRUE(epc_.give_back(100).empty()) << "its two spare ones are wanted";
  epc_.want(2 * pages);
  EXPECT_EQ(needs(), pages) << "no more than it sees";
  epc_.want(pages - 8);
  EXPECT_EQ(needs(), pages - 8);
  EXPECT_EQ(FrameSet(epc_.give_back(100)).pages(), 2u);
  epc_.want(pages);
  EXPECT_EQ(give(pages_from(20, 1)), std::nullopt);
  EXPECT_EQ(needs(), pages - 9) << "who gives wants nothing";
}

/// A guest that starts anew while others have its frames.
TEST_F(FixedEpcTest, MissingPagesGetTheirFramesAsTheyCome) {
  const auto memory = package_.make_memory();
  ASSERT_TRUE(memory->map_epc(base, first, 30));
  ASSERT_TRUE(memory->reserve_epc(at(30), pages - 30));
  FixedEpc short_of({.package = package_,
                     .memory = *memory,
                     .pages = EpcPages({{.base = base, .bytes = pages * arch::page_size, .node = 0}}),
                     .frames = {{{first, 30}}},
                     .gate = gate_,
                     .handlers = handlers_,
                     .leaves = leaves_,
                     .counts = &counts_});
  EXPECT_EQ(short_of.missing(), pages - 30);
  EXPECT_EQ(needs(), pages);
  EXPECT_EQ(short_of.frame_of(at(30)), std::nullopt);
  const Gpa missing[] = {at(30)};
  EXPECT_EQ(short_of.give(missing).stopped, BalloonError::invalid);
  EXPECT_EQ(short_of.take(missing).stopped, BalloonError::no_frame);
  const vmx::EpcSection some[] = {{other_section, 10}};
  short_of.lend(0, some);
  EXPECT_EQ(short_of.frame_of(at(30)), other_section);
  EXPECT_EQ(memory->unmap_epc(at(39)), other_section + 9);
  EXPECT_EQ(short_of.frame_of(at(40)), std::nullopt);
  EXPECT_EQ(needs(), pages);
  const vmx::EpcSection rest[] = {{other_section + 200, 60}};
  short_of.lend(0, rest);
  EXPECT_EQ(short_of.missing(), 0u);
  EXPECT_EQ(FrameSet(short_of.give_back(100)).pages(), 60 - (pages - 40)) << "what is left is spare";
}

}  // namespace
}  // namespace cloister::hypervisor
