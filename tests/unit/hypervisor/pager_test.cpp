// The pager against a package: enclaves that root mode builds page by page come and go, and stay what they were (SDM
// vol. 3D, 37.5 and 40). In both of its modes; to trap it has a package of a generation that has nothing to help it.
#include "hypervisor/epc/pager/pager.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "hypervisor/epc/clean.hpp"
#include "hypervisor/specification.hpp"
#include "package_in_front.hpp"
#include "sanitized.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/silicon.hpp"

namespace {
std::atomic<bool> no_memory_to_populate = false;
std::atomic<unsigned> advised = 0;
}  // namespace

/// The pager's, which asks for memory by this before it writes an image.
extern "C" int madvise(void* address, size_t length, int advice) noexcept {
  ++advised;
  if (no_memory_to_populate && advice == MADV_POPULATE_WRITE) {
    errno = ENOMEM;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_madvise, address, length, advice));
}

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::Gpa;
using arch::Mfn;
using arch::PageType;
using Need = Pager::Need;
namespace flags = arch::secinfo_flags;

constexpr u64 frames = 256, pages = 1024;  // 1 MiB of frames, 4 MiB for the guest
constexpr Gpa base{0x1'0000'0000};
constexpr Mfn first_frame{0x10'0000};

struct CountingGate final : Gate {
  void close() override {
    EXPECT_FALSE(closed);
    closed = true;
    ++times;
  }
  void open() override { closed = false; }
  bool closed = false;
  u64 times = 0;
};

/// By trapping: the first generation's.
silicon::Package::Config config_of(PagingMode mode, const std::vector<vmx::EpcSection>& sections) {
  silicon::Package::Config config{.epc = sections, .root_secret = {1}, .boot = 1};
  if (mode == PagingMode::trap) config.features.sgx.oss = config.features.sgx.enclv = false;
  return config;
}

class PagerTest : public testing::TestWithParam<PagingMode> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(memory_->reserve_epc(base, pages));
    auto made = Pager::create(domain(package_, *memory_, gate_));
    ASSERT_TRUE(made) << made.error();
    pager_ = std::move(*made);
  }

  /// A domain of all pages on the fixture's frames.
  Pager::Domain domain(vmx::Package& package, vmx::GuestMemory& memory, Gate& gate, u32 vcpus = 1) {
    return {.package = package,
            .memory = memory,
            .pages = EpcPages({{.base = base, .bytes = pages * arch::page_size, .node = 0}}),
            .frames = sections_,
            .mode = GetParam(),
            .vcpus = vcpus,
            .gate = gate,
            .handlers = handlers_,
            .leaves = leaves_};
  }
  static Gpa at(u64 page) { return base + page * arch::page_size; }
  Mfn need(u64 page) {
    EXPECT_EQ(pager_->need(at(page), 0), Need::there) << page;
    return *pager_->frame_of(at(page));
  }
  /// The domain's pages anew, by what stands in front of its package: their memory.
  std::unique_ptr<vmx::GuestMemory> page_with(vmx::Package& package) {
    auto memory = package_.make_memory();
    EXPECT_TRUE(memory->reserve_epc(base, pages));
    pager_ = std::move(*Pager::create(domain(package, *memory, gate_)));
    return memory;
  }
  /// Page 1, of the SECS on page 0, which stays and is not held.
  void evict_a_child() {
    make_secs(0);
    add(1, 0);
    for (u64 page = 800; page < 800 + Pager::pinned; ++page) need(page);
    EXPECT_TRUE(pager_->evict(at(1)));
  }
  static bool good(const vmx::EnclsResult& result) { return !result.fault && result.rax == 0; }

  void make_secs(u64 page) {
    alignas(64) const arch::Secinfo info{};
    alignas(4096) arch::Secs secs{};
    secs.size = u64{1} << 30;
    secs.base = u64{1} << 30;
    secs.ssa_frame_size = 1;
    secs.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
    EXPECT_TRUE(good(package_.ecreate(need(page), info, secs, at(page))));
  }
  static u64 linear_of(u64 page) { return (u64{1} << 30) + page * arch::page_size; }
  static std::byte fill_of(u64 page) { return static_cast<std::byte>(page * 7 + 1); }
  void add(u64 page, u64 secs, u64 rights = flags::r | flags::w) {
    alignas(4096) std::array<std::byte, arch::page_size> contents;
    contents.fill(fill_of(page));
    alignas(64) arch::Secinfo info{rights | u64{static_cast<u8>(PageType::reg)} << flags::page_type_shift, {}};
    const Mfn frame = need(page), owner = need(secs);
    vmx::PageinfoOperand pageinfo{linear_of(page), contents, std::as_writable_bytes(std::span(&info, 1)), owner};
    EXPECT_TRUE(good(package_.encls(EnclsLeaf::eadd, {.page = frame, .pageinfo = &pageinfo}))) << page;
    pager_->made_child(at(page), at(secs));
  }
  bool remove(u64 page) {
    const bool removed = good(package_.eremove(need(page)));
    if (removed) pager_->taken_away(at(page));
    return removed;
  }
  /// Its EPCM entry and owner as ERDINFO shows them. Without ERDINFO a test may look behind the door, and sees that the
  /// EPCM says what the pager has noted.
  arch::Rdinfo look(u64 page) {
    alignas(32) arch::Rdinfo info{};
    if (GetParam() == PagingMode::oss) {
      EXPECT_TRUE(good(package_.encls(EnclsLeaf::erdinfo, {.page = need(page), .rdinfo = &info}))) << page;
      return info;
    }
    auto& impl = package_.impl();
    const silicon::EpcmEntry& entry = impl.epcm(*impl.index_of(need(page)));
    EXPECT_TRUE(entry.valid) << page;
    info.flags =
        u64{static_cast<u8>(entry.type)} << flags::page_type_shift | (entry.blocked ? arch::rdinfo::blocked : 0);
    const auto owner = pager_->secs_of(at(page));
    if (entry.type == PageType::secs) {
      if (entry.children != 0) info.status |= arch::rdinfo::child_present;
      if (pager_->has_children_out(at(page))) info.status |= arch::rdinfo::virtual_child_present;
      info.enclavecontext = at(page).value;
    }
    EXPECT_EQ(owner.has_value(), entry.type != PageType::secs && entry.type != PageType::va) << page;
    if (owner) {
      info.enclavecontext = owner->value;
      EXPECT_EQ(impl.index_of(*pager_->frame_of(*owner)), entry.secs) << page;
    }
    return info;
  }

  const std::vector<vmx::EpcSection> sections_{{first_frame, 200}, {first_frame + 1000, frames - 200}};
  /// The package has more than the domain.
  const std::vector<vmx::EpcSection> package_sections_{
      {first_frame, 200}, {first_frame + 1000, frames - 200}, {first_frame + 2000, 1000}};
  silicon::Package package_{config_of(GetParam(), package_sections_)};
  std::unique_ptr<vmx::GuestMemory> memory_ = package_.make_memory();
  CountingGate gate_;
  Mutex handlers_;
  RootLeaves leaves_;
  std::unique_ptr<Pager> pager_;
};

TEST_P(PagerTest, APageHasAFrameOnceItIsNeeded) {
  EXPECT_TRUE(pager_->absent(at(3)));
  EXPECT_EQ(pager_->frame_of(at(3)), std::nullopt);
  const Mfn frame = need(3);
  EXPECT_FALSE(pager_->absent(at(3)));
  EXPECT_EQ(need(3), frame);
  EXPECT_EQ(pager_->counts().resident, 1u);
  EXPECT_FALSE(pager_->is_epc(base + pages * arch::page_size));
}

TEST_P(PagerTest, FreePagesGiveTheirFramesWithoutALeaf) {
  for (u64 page = 0; page < pages; ++page) need(page);
  EXPECT_EQ(pager_->counts().evictions, 0u);
  EXPECT_EQ(pager_->counts().evicted, 0u);
  EXPECT_LT(pager_->counts().resident, frames);
}

/// What was used since the eye came by last is active; each of four looks sees a quarter.
TEST_P(PagerTest, PagesThatNobodyUsesAreNotActive) {
  for (u64 page = 0; page < 100; ++page) need(page);
  EXPECT_EQ(pager_->counts().active, 100u) << "they were needed just now";
  EXPECT_EQ(pager_->counts().frames, frames);
  for (unsigned look = 0; look < 4; ++look) pager_->look();
  EXPECT_EQ(pager_->counts().active, 0u) << "no processor has used one";
  need(100);
  EXPECT_EQ(pager_->counts().active, 1u);
  for (u64 page = 101; page < 120; ++page) need(page);
  EXPECT_TRUE(pager_->evict(at(100)));
  EXPECT_EQ(pager_->counts().active, 19u);
  pager_->forget();
  EXPECT_EQ(pager_->counts().active, 0u);
}

/// Counts are the caller's, who may look when the pager has gone, and gives them to the next one.
TEST_P(PagerTest, CountsWhereItIsTold) {
  PagerCounts counts;
  auto memory = package_.make_memory();
  ASSERT_TRUE(memory->reserve_epc(base, pages));
  Pager::Domain counted = domain(package_, *memory, gate_);
  counted.counts = &counts;
  const auto make = [&] { return Pager::create(counted); };
  auto pager = make();
  ASSERT_TRUE(pager);
  for (u64 page = 0; page < pages; ++page) {
    ASSERT_EQ((*pager)->need(at(page), 0), Need::there);
    ASSERT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = *(*pager)->frame_of(at(page))})));
  }
  for (u64 page = 0; page < 100; ++page) ASSERT_EQ((*pager)->need(at(page), 0), Need::there);
  EXPECT_EQ(counts.loads, 100u);
  EXPECT_GT(counts.load_ns / counts.loads, 100u);
  EXPECT_GT(counts.evicted, pages - frames);
  EXPECT_EQ(counts.gates, gate_.times);
  EXPECT_GT(counts.gate_ns, 0u);
  EXPECT_EQ(counts.resident + counts.evicted, pages);
  (*pager)->forget();
  EXPECT_THAT(clean_epc(package_, sections_), testing::IsEmpty());
  pager = make();
  EXPECT_EQ(counts.evicted, 0u);
  EXPECT_EQ(counts.frames, frames);
  EXPECT_EQ(counts.loads, 100u) << "since the domain began";
}

/// Four times the frames, used in any order: every page is what it was, whose it was, and where it was.
TEST_P(PagerTest, EveryPageComesBackAsItWas) {
  std::mt19937 random(1);
  for (const u64 secs : {0u, 500u}) make_secs(secs);
  for (u64 page = 1; page < pages; ++page) {
    if (page != 500) add(page, page < 500 ? 0 : 500);
  }
  EXPECT_GT(pager_->counts().evicted, pages - frames);
  for (unsigned i = 0; i < 3000; ++i) {
    const u64 page = random() % pages;
    const arch::Rdinfo info = look(page);
    const bool secs = page == 0 || page == 500;
    EXPECT_EQ(info.enclavecontext, at(page < 500 ? 0 : 500).value) << page;
    const arch::Secinfo secinfo{.flags = info.flags, .reserved = {}};
    EXPECT_EQ(secinfo.type(), secs ? PageType::secs : PageType::reg);
    if (secs) continue;
    const auto word = package_.encls(EnclsLeaf::eblock, {.page = need(page)});
    EXPECT_TRUE(good(word) || word.rax == static_cast<u64>(arch::SgxError::blkstate));
  }
  EXPECT_GT(gate_.times, 100u);
  EXPECT_EQ(pager_->counts().lost, 0u);
  // What the hypervisor counted it has taken back: with its children gone a SECS can be removed.
  for (u64 page = 0; page < pages; ++page) {
    if (page == 0 || page == 500) continue;
    EXPECT_TRUE(remove(page)) << page;
  }
  for (const u64 secs : {0u, 500u}) {
    EXPECT_EQ(look(secs).status, 0u) << "no children, and no virtual ones";
    EXPECT_TRUE(remove(secs));
  }
}

TEST_P(PagerTest, WhatTheGuestBlockedComesBackBlocked) {
  make_secs(0);
  add(1, 0);
  add(2, 0);
  EXPECT_TRUE(good(package_.encls(EnclsLeaf::eblock, {.page = need(1)})));
  for (u64 page = 100; page < 120; ++page) need(page);  // the last pages needed are others
  for (const u64 page : {1u, 2u}) EXPECT_TRUE(pager_->evict(at(page)));
  EXPECT_NE(look(1).flags & arch::rdinfo::blocked, 0u);
  EXPECT_EQ(look(2).flags & arch::rdinfo::blocked, 0u);
}

TEST_P(PagerTest, ASecsGoesAfterItsChildrenAndComesBefore) {
  make_secs(0);
  add(1, 0);
  for (u64 page = 100; page < 120; ++page) need(page);
  EXPECT_FALSE(pager_->evict(at(0))) << "it has a child";
  EXPECT_TRUE(pager_->evict(at(1)));
  EXPECT_TRUE(pager_->evict(at(0)));
  EXPECT_EQ(pager_->counts().evicted, 2u);
  need(1);
  EXPECT_TRUE(pager_->frame_of(at(0))) << "with its child";
  EXPECT_EQ(look(1).enclavecontext, at(0).value);
}

/// More of them than go at a time, none of which can go.
TEST_P(PagerTest, SecssInARowAreNotTheEnd) {
  constexpr u64 many = 40, children_at = 100, others_at = 200;
  for (u64 page = 0; page < many; ++page) make_secs(page);
  for (u64 page = 0; page < many; ++page) add(children_at + page, page);
  for (u64 page = others_at; page < others_at + frames; ++page)
    ASSERT_EQ(pager_->need(at(page), 0), Need::there) << page;
  EXPECT_EQ(pager_->counts().lost, 0u);
}

/// A SECS that is on its way has its children stay; once it has turned out to stay itself, they may go.
TEST_P(PagerTest, ChildrenThatStayedForAMomentAreNotTheEnd) {
  struct HookedGate final : Gate {
    void close() override { closing(); }
    void open() override { opening(); }
    std::function<void()> closing = [] {}, opening = [] {};
  } gate;
  auto memory = package_.make_memory();
  ASSERT_TRUE(memory->reserve_epc(base, pages));
  pager_ = std::move(*Pager::create(domain(package_, *memory, gate)));
  constexpr u64 batch = 16, others_at = 100;
  make_secs(0);
  for (u64 page = 1; page <= batch; ++page) add(page, 0);
  // Of the frames one is kept for versions.
  for (u64 page = others_at; page < others_at + frames - 2 - batch; ++page) need(page);

  const auto here = std::this_thread::get_id();
  std::promise<void> on_its_way, may_end;
  gate.closing = [&] {
    if (std::this_thread::get_id() == here) return;
    on_its_way.set_value();
    may_end.get_future().wait();
  };
  std::thread other([&] { EXPECT_FALSE(pager_->evict(at(0))) << "it has children"; });
  on_its_way.get_future().wait();
  gate.opening = [&] {
    if (std::this_thread::get_id() != here || !other.joinable()) return;
    may_end.set_value();
    other.join();
  };
  EXPECT_EQ(pager_->need(at(900), 0), Need::there);
  EXPECT_FALSE(other.joinable());
  EXPECT_EQ(pager_->counts().lost, 0u);
  pager_.reset();
}

/// What the handlers of leaves that exit ask, since the SECS itself cannot tell: at no time has it fewer children than
/// it was given.
TEST_P(PagerTest, ByTrappingItKnowsWhichSecsHasChildrenOut) {
  if (GetParam() != PagingMode::trap) GTEST_SKIP() << "the SECS itself knows";
  make_secs(0);
  add(1, 0);
  add(2, 0);
  for (u64 page = 100; page < 120; ++page) need(page);
  EXPECT_FALSE(pager_->has_children_out(at(0)));
  for (const u64 page : {1u, 2u}) EXPECT_TRUE(pager_->evict(at(page)));
  EXPECT_TRUE(pager_->has_children_out(at(0)));
  EXPECT_EQ(pager_->secs_of(at(1)), at(0)) << "wherever it is";
  need(1);
  EXPECT_TRUE(pager_->has_children_out(at(0)));
  need(2);
  EXPECT_FALSE(pager_->has_children_out(at(0)));
  for (const u64 page : {1u, 2u}) EXPECT_TRUE(remove(page));
  EXPECT_FALSE(pager_->secs_of(at(1)));
}

/// A page that has been taken away is free, and may be another's, or no child: it is evicted as what it is now.
TEST_P(PagerTest, APageIsEvictedAsWhatItHasBecome) {
  make_secs(0);
  make_secs(10);
  add(1, 0);
  add(11, 10);
  EXPECT_TRUE(remove(1));
  add(1, 10);
  EXPECT_TRUE(remove(11));
  EXPECT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = need(11)})));
  EXPECT_TRUE(remove(0));
  for (u64 page = 100; page < 120; ++page) need(page);
  for (const u64 page : {0u, 1u, 11u}) EXPECT_TRUE(pager_->evict(at(page))) << page;
  EXPECT_TRUE(pager_->absent(at(0)));
  EXPECT_EQ(look(1).enclavecontext, at(10).value);
  const arch::Secinfo info{.flags = look(11).flags, .reserved = {}};
  EXPECT_EQ(info.type(), PageType::va);
}

/// A leaf that the hypervisor runs for the guest has met one of the pager's: the guest must not know.
TEST_P(PagerTest, ALeafForTheGuestIsTriedAgainIfItMetOneOfThePagers) {
  const vmx::EnclsResult busy{.fault = arch::vector::gp}, conflict{.fault = std::nullopt, .rax = 7}, done{};
  for (const vmx::EnclsResult& met : {busy, conflict}) {
    unsigned times = 0;
    const auto result = pager_->run([&] {
      if (++times > 2) return done;
      const RootLeaves::Running of_the_pager(leaves_);
      return met;
    });
    EXPECT_EQ(times, 3u);
    EXPECT_TRUE(good(result));
    times = 0;
    const auto own = pager_->run([&] { return ++times, met; });
    EXPECT_EQ(times, 1u) << "it met the guest's own, or is wrong";
    EXPECT_EQ(own.fault, met.fault);
    EXPECT_EQ(own.rax, met.rax);
  }
}

TEST_P(PagerTest, VersionArraysOfTheGuestsAreEvictedToo) {
  EXPECT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = need(7)})));
  for (u64 page = 100; page < 120; ++page) need(page);
  EXPECT_TRUE(pager_->evict(at(7)));
  const arch::Secinfo info{.flags = look(7).flags, .reserved = {}};
  EXPECT_EQ(info.type(), PageType::va);
}

TEST_P(PagerTest, WhatOneInstructionNeedsStays) {
  for (u64 page = 0; page < Pager::pinned; ++page) need(page);
  for (u64 page = 0; page < Pager::pinned; ++page) EXPECT_FALSE(pager_->evict(at(page))) << page;
  need(100);
  EXPECT_TRUE(pager_->evict(at(0)));
  EXPECT_FALSE(pager_->evict(at(1)));
  need(1);
  need(101);
  EXPECT_TRUE(pager_->evict(at(2)));
  EXPECT_FALSE(pager_->evict(at(1))) << "it was needed again";
}

/// Frames come and go while pages are used: what is given back is free and not the pager's, and no page is lost by it.
TEST_P(PagerTest, FramesAreLentAndGivenBack) {
  make_secs(0);
  for (u64 page = 1; page < 600; ++page) add(page, 0);
  const std::vector<vmx::EpcSection> more{{first_frame + 2000, 100}, {first_frame + 2200, 156}};
  pager_->lend(more);
  EXPECT_EQ(pager_->counts().frames, 2 * frames);
  const u64 evicted = pager_->counts().evicted;
  for (u64 page = 1; page < 240; ++page) need(page);
  EXPECT_LT(pager_->counts().evicted, evicted) << "there is room";

  FrameSet given;
  std::mt19937 random(2);
  while (pager_->counts().frames > frames) {
    const auto some = pager_->give_back(1 + random() % 40);
    ASSERT_FALSE(some.empty());
    for (const vmx::EpcSection& section : some) given.add(section);
    for (unsigned i = 0; i < 10; ++i) need(1 + random() % 599);
  }
  EXPECT_EQ(given.pages(), frames);
  EXPECT_THAT(pager_->give_back(10), testing::IsEmpty()) << "it keeps what it must have";
  EXPECT_EQ(FrameSet(pager_->held()).pages(), frames);
  // Nothing is in them: whoever has them next may make pages of all.
  for (const vmx::EpcSection& section : given.sections()) {
    for (u64 i = 0; i < section.pages; ++i) {
      const Mfn frame = section.first + i;
      EXPECT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = frame})));
      EXPECT_TRUE(good(package_.eremove(frame)));
    }
  }
  for (u64 page = 1; page < 600; ++page) EXPECT_EQ(look(page).enclavecontext, at(0).value) << page;
  EXPECT_EQ(pager_->counts().lost, 0u);
  pager_->lend(given.sections());
  pager_->forget();
  EXPECT_EQ(pager_->counts().frames, 2 * frames);
  EXPECT_THAT(clean_epc(package_, pager_->held()), testing::IsEmpty());
}

/// What was lent goes back, as far as pages on it can be moved: so what lies side by side stays so.
TEST_P(PagerTest, LentFramesGoBackFirst) {
  const vmx::EpcSection lent{first_frame + 2000, 256};
  pager_->lend(std::span(&lent, 1));
  for (u64 page = 0; page < 2 * frames - 1; ++page) {
    const Mfn frame = need(page);
    EXPECT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = frame})));
  }
  u64 given = 0;
  while (given < 200) {
    for (const vmx::EpcSection& section : pager_->give_back(200 - given)) {
      EXPECT_GE(section.first, lent.first);
      given += section.pages;
    }
  }
  EXPECT_EQ(given, 200u);
}

/// A machine's packages share each for itself: frames of the one that is named, whoever's page is on them.
TEST_P(PagerTest, FramesOfOnePackageAreGivenBack) {
  const vmx::EpcSection one{first_frame + 2000, 256}, other{first_frame + 2400, 256};
  for (const vmx::EpcSection& lent : {one, other}) pager_->lend(std::span(&lent, 1));
  make_secs(0);
  for (u64 page = 1; page < 700; ++page) add(page, 0);
  FrameSet given;
  while (given.pages() < 200) {
    const auto some = pager_->give_back(200 - given.pages(), std::span(&other, 1));
    ASSERT_FALSE(some.empty());
    for (const vmx::EpcSection& section : some) given.add(section);
  }
  for (const vmx::EpcSection& row : given.sections()) {
    EXPECT_GE(row.first, other.first);
    EXPECT_LE(row.first + row.pages, other.first + other.pages);
  }
  EXPECT_THAT(pager_->give_back(1, std::vector<vmx::EpcSection>{{first_frame + 9000, 10}}), testing::IsEmpty());
  for (u64 page = 1; page < 700; ++page) EXPECT_EQ(look(page).enclavecontext, at(0).value) << page;
  EXPECT_EQ(pager_->counts().lost, 0u);
}

/// Of what a guest leaves behind nothing is given away before it is removed.
TEST_P(PagerTest, WhatIsForgottenIsGivenBackOnceItIsRemoved) {
  const vmx::EpcSection lent{first_frame + 2000, 256};
  pager_->lend(std::span(&lent, 1));
  make_secs(0);
  for (u64 page = 1; page < 400; ++page) add(page, 0);
  pager_->forget();
  for (const vmx::EpcSection& section : pager_->give_back(512)) {
    for (u64 i = 0; i < section.pages; ++i) {
      EXPECT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = section.first + i}))) << "free";
      EXPECT_TRUE(good(package_.eremove(section.first + i)));
    }
  }
  EXPECT_THAT(clean_epc(package_, pager_->held()), testing::IsEmpty());
  pager_->give_back(512);
  EXPECT_EQ(FrameSet(pager_->held()).pages(), frames);
}

TEST(FrameSet, IsWhatASetOfNumbersIs) {
  std::mt19937 random(3);
  FrameSet set;
  std::set<u64> numbers;
  for (unsigned i = 0; i < 5000; ++i) {
    const u64 number = random() % 200;
    ASSERT_EQ(set.contains(Mfn{number}), numbers.contains(number));
    if (numbers.contains(number)) {
      set.remove(Mfn{number});
      numbers.erase(number);
    } else {
      set.add({Mfn{number}, 1});
      numbers.insert(number);
    }
    ASSERT_EQ(set.pages(), numbers.size());
  }
  std::set<u64> listed;
  u64 end = 0;
  for (const vmx::EpcSection& section : set.sections()) {
    EXPECT_TRUE(listed.empty() || section.first.value > end) << "neighbours are one row";
    for (u64 j = 0; j < section.pages; ++j) listed.insert(section.first.value + j);
    end = section.first.value + section.pages;
  }
  EXPECT_EQ(listed, numbers);
}

TEST_P(PagerTest, NothingIsLeftAfterForget) {
  make_secs(0);
  for (u64 page = 1; page < 600; ++page) add(page, 0);
  pager_->forget();
  EXPECT_THAT(clean_epc(package_, sections_), testing::IsEmpty());
  EXPECT_EQ(pager_->counts().resident + pager_->counts().evicted, 0u);
  EXPECT_TRUE(pager_->absent(at(0)));
  make_secs(0);
  for (u64 page = 1; page < 600; ++page) add(page, 0);
}

struct OneAtATime final : Gate {
  void close() override { mutex.lock(); }
  void open() override { mutex.unlock(); }
  std::mutex mutex;
};

/// A domain falls asleep while its processors still handle exits: what they wait for meanwhile is not taken from them.
TEST_P(PagerTest, ForgettingWaitsForWhoNeedsAPage) {
  auto memory = package_.make_memory();
  ASSERT_TRUE(memory->reserve_epc(base, pages));
  OneAtATime gate;
  const auto pager = Pager::create(domain(package_, *memory, gate, 3));
  ASSERT_TRUE(pager) << pager.error();
  std::atomic<unsigned> busy = 3;
  std::vector<std::jthread> threads;
  for (u32 vcpu = 0; vcpu < 3; ++vcpu) {
    threads.emplace_back([&, vcpu] {
      std::minstd_rand random(vcpu + 1);
      for (unsigned i = 0; i < 5000; ++i) EXPECT_EQ((*pager)->need(at(random() % pages), vcpu), Need::there);
      --busy;
    });
  }
  while (busy != 0) {
    (*pager)->forget();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // or nobody else ever has the lock
  }
  threads.clear();
  (*pager)->forget();
  EXPECT_EQ((*pager)->counts().resident, 0u);
  for (u64 page = 0; page < frames / 2; ++page) EXPECT_EQ((*pager)->need(at(page), 0), Need::there);
  for (u64 page = 0; page < frames / 2 - Pager::pinned; ++page) EXPECT_TRUE((*pager)->evict(at(page))) << page;
}

/// The largest EPC that so many frames can have: with all of it out the version arrays leave room for what is needed.
TEST_P(PagerTest, TheFewestFramesDoForAllOfTheEpc) {
  constexpr u64 most = (frames - 32 - 4) * 512;
  static_assert(least_paged_epc(most, 1) == frames && least_paged_epc(most + 512, 1) == frames + 1);
  constexpr Gpa other = base + 2 * pages * arch::page_size;
  ASSERT_TRUE(memory_->reserve_epc(other, most));
  Pager::Domain large = domain(package_, *memory_, gate_);
  large.pages = EpcPages({{.base = other, .bytes = most * arch::page_size, .node = 0}});
  auto pager = Pager::create(large);
  ASSERT_TRUE(pager) << pager.error();
  for (u64 page = 0; page < most; page += is_sanitized() ? 8 : 1) {
    const Gpa address = other + page * arch::page_size;
    ASSERT_EQ((*pager)->need(address, 0), Need::there) << page;
    ASSERT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = *(*pager)->frame_of(address)}))) << page;
  }
  for (u64 page = 0; page < most; page += 997)
    ASSERT_EQ((*pager)->need(other + page * arch::page_size, 0), Need::there) << page;
  EXPECT_EQ((*pager)->counts().lost, 0u);
}

/// What is free is given, with or without a frame; what is in use stays what it was, in EPC or out of it.
TEST_P(PagerTest, TheGuestGivesWhatIsFree) {
  make_secs(0);
  add(1, 0);
  for (u64 page = 100; page < 100 + Pager::pinned; ++page) need(page);
  ASSERT_TRUE(pager_->evict(at(1)));
  need(2);  // and is pinned
  const auto give = [&](std::vector<Gpa> list) { return pager_->give(list); };
  const auto refused = [](BalloonError why) { return std::optional(why); };
  const u64 resident = pager_->counts().resident;
  const Ballooned given = give({at(2), at(700), at(0), at(3)});
  EXPECT_EQ(given.pages, 2u);
  EXPECT_EQ(given.stopped, refused(BalloonError::in_use));
  EXPECT_EQ(pager_->given(), 2u);
  EXPECT_EQ(pager_->counts().resident, resident - 1);
  EXPECT_EQ(give({at(1)}).stopped, refused(BalloonError::in_use)) << "it is out";
  EXPECT_EQ(give({at(2)}).stopped, refused(BalloonError::invalid)) << "given already";
  EXPECT_EQ(give({at(3) + 1}).stopped, refused(BalloonError::invalid));
  EXPECT_EQ(give({at(pages)}).stopped, refused(BalloonError::invalid));
  const Ballooned twice = give({at(3), at(3)});
  EXPECT_EQ(twice.pages, 1u);
  EXPECT_EQ(twice.stopped, refused(BalloonError::invalid));
  for (const u64 page : {2, 3, 700}) EXPECT_EQ(pager_->need(at(page), 0), Need::given) << page;
  EXPECT_FALSE(pager_->absent(at(700)));
  EXPECT_FALSE(pager_->evict(at(2)));
  EXPECT_EQ(look(1).status & arch::rdinfo::child_present, 0u);
  EXPECT_EQ(look(0).status & arch::rdinfo::child_present, arch::rdinfo::child_present);

  pager_->forget();
  EXPECT_EQ(pager_->given(), 3u) << "the guest's kernel knows what it has given, also after S3";
  const Ballooned taken = pager_->take(std::vector{at(2), at(700), at(0)});
  EXPECT_EQ(taken.pages, 2u);
  EXPECT_EQ(taken.stopped, refused(BalloonError::invalid));
  EXPECT_EQ(pager_->need(at(700), 0), Need::there);
  EXPECT_EQ(pager_->given(), 1u);
}

/// A package that has its root leaves tampered with.
class Tampered final : public tests::PackageInFront {
 public:
  using PackageInFront::PackageInFront;
  /// Before a page is loaded.
  std::function<void(const vmx::PageinfoOperand&)> before_load;

  vmx::EnclsResult encls(EnclsLeaf leaf, const vmx::LeafOperands& operands) override {
    const bool loads = leaf == EnclsLeaf::elduc || leaf == EnclsLeaf::eldbc || leaf == EnclsLeaf::eldu;
    if (before_load && loads) before_load(*operands.pageinfo);
    return behind_.encls(leaf, operands);
  }
};

/// Or a thread would find what is no page yet, and its kernel take the enclave for lost.
TEST_P(PagerTest, APageIsMappedOnceItIsWhole) {
  Tampered tampered(package_);
  const auto memory = page_with(tampered);
  evict_a_child();
  bool loaded = false;
  tampered.before_load = [&](const vmx::PageinfoOperand&) {
    loaded = true;
    EXPECT_EQ(memory->unmap_epc(at(1)), std::nullopt);
  };
  need(1);
  EXPECT_TRUE(loaded);
}

/// Or the child's load would find another page in its frame, and the child be lost.
TEST_P(PagerTest, ASecsStaysWhileAChildOfItComes) {
  Tampered tampered(package_);
  const auto memory = page_with(tampered);
  evict_a_child();
  bool loaded = false;
  tampered.before_load = [&](const vmx::PageinfoOperand&) {
    loaded = true;
    EXPECT_FALSE(pager_->evict(at(0)));
  };
  need(1);
  EXPECT_TRUE(loaded);
  tampered.before_load = nullptr;
  EXPECT_EQ(pager_->counts().lost, 0u);
}

/// What lies in the host's memory is sealed: with any bit of it another one the page is lost, and nothing else is.
TEST_P(PagerTest, WithAnyBitOfItsImageFlippedAPageIsLost) {
  Tampered tampered(package_);
  const auto memory = page_with(tampered);
  make_secs(0);
  constexpr u64 last = 200;
  for (u64 page = 1; page <= last; ++page) add(page, 0);
  for (u64 page = 800; page < 800 + Pager::pinned; ++page) need(page);
  std::mt19937 random(4);
  u64 lost = 0;
  for (u64 page = 1; page <= last; ++page) {
    ASSERT_TRUE(pager_->evict(at(page)));
    const bool flip = page % 4 != 0;
    tampered.before_load = [&](const vmx::PageinfoOperand& pageinfo) {
      if (!flip) return;
      // Of the PCMD its MAC: the enclave's number is for who keeps it, and the rest is reserved (SDM vol. 3D, 35.20).
      const bool image = page % 4 != 1;
      std::byte* const bytes = image ? const_cast<std::byte*>(pageinfo.source.data()) : pageinfo.secinfo.data();
      const u64 at = image ? random() % arch::page_size : 112 + random() % 16;
      bytes[at] ^= static_cast<std::byte>(1 << random() % 8);
    };
    EXPECT_EQ(pager_->need(at(page), 0), flip ? Need::lost : Need::there) << page;
    tampered.before_load = {};
    lost += flip;
    EXPECT_EQ(pager_->counts().lost, lost);
    EXPECT_EQ(pager_->frame_of(at(page)).has_value(), !flip);
    EXPECT_EQ(pager_->need(at(page), 0), flip ? Need::lost : Need::there) << "for ever";
  }
  for (u64 page = 4; page <= last; page += 4) EXPECT_EQ(look(page).enclavecontext, at(0).value);
  EXPECT_EQ(pager_->counts().frames, frames) << "no frame went with them";
}

/// With no memory for images nothing is evicted, and what is there stays; once there is some all goes on.
TEST_P(PagerTest, WithoutMemoryForImagesPagesStay) {
  make_secs(0);
  for (u64 page = 1; page < 100; ++page) add(page, 0);
  for (u64 page = 800; page < 800 + Pager::pinned; ++page) need(page);
  no_memory_to_populate = true;
  for (u64 page = 1; page < 100; ++page) EXPECT_FALSE(pager_->evict(at(page))) << page;
  EXPECT_EQ(pager_->counts().evicted, 0u);
  for (u64 page = 1; page < 100; ++page) EXPECT_TRUE(pager_->frame_of(at(page))) << page;
  u64 page = 100;
  while (pager_->need(at(page), 0) == Need::there) {
    ASSERT_LT(page, frames);
    ASSERT_TRUE(good(package_.encls(EnclsLeaf::epa, {.page = *pager_->frame_of(at(page))})));
    ++page;
  }
  EXPECT_EQ(pager_->need(at(page), 0), Need::exhausted);
  EXPECT_THAT(pager_->give_back(10), testing::IsEmpty());
  no_memory_to_populate = false;
  EXPECT_EQ(pager_->need(at(page), 0), Need::there);
  for (u64 old = 1; old < 100; ++old) EXPECT_EQ(look(old).enclavecontext, at(0).value);
  EXPECT_EQ(pager_->counts().lost, 0u);
}

/// Memory for images is the host's, and asking for it costs as much as sealing does: what a load leaves the next
/// eviction has, and no more than that is kept.
TEST_P(PagerTest, FaultsThatFollowEachOtherAskForNoMemory) {
  make_secs(0);
  for (u64 page = 1; page < 600; ++page) add(page, 0);
  const unsigned before = advised;
  for (unsigned i = 0; i < 3; ++i) {
    for (u64 page = 1; page < 600; ++page) need(page);
  }
  EXPECT_GT(pager_->counts().loads, 1000u);
  EXPECT_LT(advised - before, 2 * Backing::spares);
  for (u64 page = 1; page < 600; ++page) EXPECT_EQ(look(page).enclavecontext, at(0).value) << page;
}

TEST(Backing, KeepsSomeOfItsMemoryAndGivesBackTheRest) {
  auto backing = Backing::create(200);
  ASSERT_TRUE(backing);
  std::vector<Backing::Image> images;
  std::set<std::byte*> places;
  for (u64 i = 0; i < 200; ++i) {
    const auto image = backing->take();
    ASSERT_TRUE(image);
    for (const auto bytes : {backing->page(*image), backing->pcmd(*image)}) {
      EXPECT_TRUE(places.insert(bytes.data()).second);
      std::ranges::fill(bytes, std::byte{7});
    }
    images.push_back(*image);
  }
  for (const Backing::Image image : images) backing->give_back(image);
  u64 with_memory = 0;
  for (const Backing::Image image : images) with_memory += backing->page(image)[0] == std::byte{7};
  EXPECT_EQ(with_memory, Backing::spares);
  const unsigned before = advised;
  for (u64 i = 0; i < Backing::spares; ++i) EXPECT_TRUE(backing->take());
  EXPECT_EQ(advised, before);
  no_memory_to_populate = true;
  EXPECT_FALSE(backing->take());
  no_memory_to_populate = false;
  EXPECT_TRUE(backing->take());
}

/// Four processors with the fewest frames, a daemon that lends and takes back, and somebody who looks, all at once.
TEST_P(PagerTest, ManyUseItAtATime) {
  auto memory = package_.make_memory();
  ASSERT_TRUE(memory->reserve_epc(base, pages));
  OneAtATime gate;
  pager_ = std::move(*Pager::create(domain(package_, *memory, gate, 4)));
  make_secs(0);
  for (u64 page = 1; page < 700; ++page) add(page, 0);
  std::atomic<unsigned> busy = 4;
  std::vector<std::jthread> threads;
  for (u32 vcpu = 0; vcpu < 4; ++vcpu) {
    threads.emplace_back([&, vcpu] {
      std::minstd_rand random(vcpu + 1);
      for (unsigned i = 0; i < 3000; ++i) EXPECT_EQ(pager_->need(at(random() % 700), vcpu), Need::there);
      --busy;
    });
  }
  threads.emplace_back([&] {
    std::vector<vmx::EpcSection> away{{first_frame + 2000, 256}};
    for (std::minstd_rand random(9); busy != 0;) {
      pager_->lend(away);
      away = pager_->give_back(1 + random() % 64);
      pager_->look();
    }
  });
  threads.clear();
  for (u64 page = 1; page < 700; ++page) EXPECT_EQ(look(page).enclavecontext, at(0).value) << page;
  EXPECT_EQ(pager_->counts().lost, 0u);
}

TEST_P(PagerTest, WithTooFewFramesThereIsNone) {
  auto memory = package_.make_memory();
  ASSERT_TRUE(memory->reserve_epc(base, pages));
  Pager::Domain poor = domain(package_, *memory, gate_);
  poor.frames = {{first_frame, 255}};
  const auto none = Pager::create(poor);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error(), testing::HasSubstr("at least 256 pages, found 255"));
}

INSTANTIATE_TEST_SUITE_P(Modes, PagerTest, testing::Values(PagingMode::trap, PagingMode::oss), [](const auto& tested) {
  return std::string(tested.param == PagingMode::trap ? "trap" : "oss");
});

}  // namespace
}  // namespace cloister::hypervisor
