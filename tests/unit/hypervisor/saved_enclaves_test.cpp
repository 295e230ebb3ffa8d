// EPC that leaves one machine and comes to another (hypervisor/saving/enclaves.hpp): from any way of paging to any
// other, with nothing left behind and nothing counted twice; and streams that lie.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <set>
#include <thread>

#include "guests.hpp"
#include "hypervisor/boot.hpp"
#include "hypervisor/epc/answer.hpp"
#include "hypervisor/epc/clean.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/saving/live.hpp"
#include "package_in_front.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::Gpa;
using arch::Mfn;
namespace flags = arch::secinfo_flags;

constexpr u64 epc_pages = 512, paged_frames = 384, most_lent = 4;
constexpr Mfn first{0x10'0000};
constexpr vmx::MoveToken arrived{1}, failed{2};

vmx::MoveSession session_of(u8 id, const vmx::MoveToken& token, u8 key = 3) {
  vmx::MoveSession session{.id = {id}, .domain = {9}, .key = {key}};
  ::SHA256(token.data(), token.size(), session.token_digest.data());
  return session;
}

DomainSpec spec_for(const silicon::Package& package, EpcPaging how) {
  DomainSpec spec = spec_of({});
  spec.map = *platform::make_memory_map(u64{16} << 20, epc_pages * arch::page_size, 40);
  spec.epc_paging = how;
  spec.clock = vmx::ClockMode::host;
  spec.sgx_provision = true;
  spec.cpuid.set(arch::leaf::sgx, 0, package.cpuid(arch::leaf::sgx, 0));
  return spec;
}

/// A machine whose processors do not run.
struct Side {
  explicit Side(EpcPaging paging, u8 platform = 1, u64 lent = 0)
      : package({.epc = {{first, epc_pages + most_lent}}, .root_secret = {platform}, .boot = 1}),
        machine(package, spec_for(package, paging)) {
    if (lent != 0) machine.spec.epc_spare = {{{first + epc_pages, lent}}};
    machine.epc = {{first, paging == EpcPaging::none ? epc_pages : paged_frames}};
    EXPECT_TRUE(boot(machine));
    for (const auto& processor : machine.processors) processor->activity = Processor::Activity::waiting;
  }

  Gpa at(u64 page) { return machine.epc_pages.address_of(EpcPage{page}); }
  Mfn frame(u64 page) {
    if (machine.pager == nullptr) {
      machine.fixed_mover->pager().need(at(page));
      return *machine.fixed_epc->frame_of(at(page));
    }
    EXPECT_EQ(machine.pager->need(at(page), 0), Pager::Need::there) << page;
    return *machine.pager->frame_of(at(page));
  }
  void make_secs(u64 page) {
    alignas(64) const arch::Secinfo info{};
    alignas(4096) arch::Secs secs{};
    secs.size = secs.base = u64{1} << 30;
    secs.ssa_frame_size = 1;
    secs.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
    EXPECT_TRUE(done(package.ecreate(frame(page), info, secs, at(page))));
  }
  void add(u64 page, u64 secs) {
    alignas(4096) std::array<std::byte, arch::page_size> contents{};
    alignas(64) arch::Secinfo info{flags::r | flags::w | u64{static_cast<u8>(arch::PageType::reg)} << 8, {}};
    const Mfn owner = frame(secs), to = frame(page);
    vmx::PageinfoOperand pageinfo{.linaddr = (u64{1} << 30) + page * arch::page_size,
                                  .source = contents,
                                  .secinfo = std::as_writable_bytes(std::span(&info, 1)),
                                  .secs = owner};
    EXPECT_TRUE(done(package.encls(EnclsLeaf::eadd, {.page = to, .pageinfo = &pageinfo})));
    if (machine.pager != nullptr) machine.pager->made_child(at(page), at(secs));
  }
  /// Two enclaves, of which one has a page that the guest has blocked, and a version array of the guest's.
  void build() {
    for (const u64 secs : {0u, 100u}) {
      make_secs(secs);
      for (u64 page = secs + 1; page < secs + 40; ++page) add(page, secs);
    }
    EXPECT_TRUE(done(package.encls(EnclsLeaf::eblock, {.page = frame(7)})));
    EXPECT_TRUE(done(package.encls(EnclsLeaf::epa, {.page = frame(200)})));
    // Some are out already.
    if (machine.pager != nullptr) {
      for (u64 page = 300; page < 300 + Pager::pinned; ++page) frame(page);
      for (u64 page = 1; page < 20; ++page) EXPECT_TRUE(machine.pager->evict(at(page)));
    }
  }
  arch::Rdinfo info(u64 page) {
    alignas(32) arch::Rdinfo found{};
    EXPECT_TRUE(done(package.encls(EnclsLeaf::erdinfo, {.page = frame(page), .rdinfo = &found}))) << page;
    return found;
  }
  arch::PageType type_of(u64 page) { return arch::Secinfo{.flags = info(page).flags, .reserved = {}}.type(); }
  void expect_built() {
    for (const u64 secs : {0u, 100u}) {
      for (u64 page = secs + 1; page < secs + 40; ++page) {
        EXPECT_EQ((info(page).flags & arch::rdinfo::blocked) != 0, page == 7) << page;
        EXPECT_EQ(type_of(page), arch::PageType::reg);
      }
      EXPECT_EQ(info(secs).status & arch::rdinfo::virtual_child_present, 0u) << "all are here, and none counts as out";
      EXPECT_NE(info(secs).status & arch::rdinfo::child_present, 0u);
    }
    EXPECT_EQ(type_of(200), arch::PageType::va);
    for (const u64 secs : {0u, 100u}) {
      for (u64 page = secs + 1; page < secs + 40; ++page) EXPECT_TRUE(done(package.eremove(frame(page))));
      EXPECT_TRUE(done(package.eremove(frame(secs)))) << "it has no children any more";
    }
  }

  silicon::Package package;
  Machine machine;
};

using Records = std::vector<stream::Record>;

stream::Sink into(std::vector<u8>& bytes) {
  return [&bytes](std::span<const u8> more) -> stream::Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  };
}

Records records_in(const std::vector<u8>& bytes) {
  stream::Reader reader([rest = std::span<const u8>(bytes)](std::span<u8> to) mutable -> stream::Result<std::size_t> {
    const std::size_t n = std::min(to.size(), rest.size());
    std::copy_n(rest.begin(), n, to.begin());
    rest = rest.subspan(n);
    return n;
  });
  Records all;
  for (auto record = reader.next(); record && record->kind != stream::Kind::end; record = reader.next())
    all.push_back(std::move(*record));
  return all;
}

Records records_of(Side& side, const vmx::MoveSession& session) {
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  bool left = false;
  const Loaded saved = save_enclaves(side.machine, writer, session, left);
  EXPECT_TRUE(saved) << saved.error();
  EXPECT_TRUE(left);
  EXPECT_TRUE(writer.end());
  return records_in(bytes);
}

/// Empty: they have come.
std::string import(Side& side, const Records& records, const vmx::MoveSession& session) {
  ArrivingEnclaves enclaves(side.machine.epc_pages.pages());
  for (const stream::Record& record : records) {
    if (const Loaded added = enclaves.add(record); !added) return added.error();
  }
  const Loaded come = std::move(enclaves).import(side.machine, session);
  return come ? "" : come.error();
}

class MovedEnclaves : public testing::TestWithParam<std::tuple<EpcPaging, EpcPaging>> {};

TEST_P(MovedEnclaves, AreWhatTheyWere) {
  const auto [from, to] = GetParam();
  Side source(from), target(to);
  source.build();
  const Records records = records_of(source, session_of(1, failed));
  ASSERT_EQ(import(target, records, session_of(1, arrived)), "");
  EXPECT_EQ(commit_enclaves(target.machine, failed).error(), "its enclaves: the token is not this move's");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  target.expect_built();
}

TEST_P(MovedEnclaves, GoOnAndBack) {
  const auto [from, to] = GetParam();
  Side source(from);
  source.build();
  records_of(source, session_of(1, failed));
  EXPECT_EQ(take_enclaves_back(source.machine, arrived).error(), "its enclaves: the token is not this move's");
  ASSERT_TRUE(take_enclaves_back(source.machine, failed));
  Side target(to), last(from);
  ASSERT_EQ(import(target, records_of(source, session_of(2, failed)), session_of(2, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  ASSERT_EQ(import(last, records_of(target, session_of(3, failed)), session_of(3, arrived)), "");
  ASSERT_TRUE(commit_enclaves(last.machine, arrived));
  last.expect_built();
}

/// Whether they have left or not: nothing of them comes again, and others can be built.
TEST_P(MovedEnclaves, AreGivenUp) {
  const auto [from, to] = GetParam();
  for (const bool left : {false, true}) {
    Side source(from);
    source.build();
    std::vector<u8> bytes;
    stream::Writer writer([&bytes](std::span<const u8> more) -> stream::Result<void> {
      bytes.insert(bytes.end(), more.begin(), more.end());
      return {};
    });
    const auto root = write_enclaves(source.machine, writer);
    ASSERT_TRUE(root) << root.error();
    bool gone = false;
    if (left) {
      ASSERT_TRUE(export_enclaves(source.machine, *root, writer, session_of(1, failed), gone));
    }
    EXPECT_EQ(gone, left);
    ASSERT_TRUE(give_enclaves_up(source.machine, {.root = {5}, .paging = {6}, .boot = 7}));
    EXPECT_FALSE(take_enclaves_back(source.machine, failed));
    source.build();
    source.expect_built();
  }
}

/// All was ready to leave, and stays.
TEST_P(MovedEnclaves, AreKept) {
  const auto [from, to] = GetParam();
  Side source(from);
  source.build();
  stream::Writer writer([](std::span<const u8>) -> stream::Result<void> { return {}; });
  ASSERT_TRUE(write_enclaves(source.machine, writer));
  ASSERT_TRUE(keep_enclaves(source.machine));
  source.expect_built();
}

INSTANTIATE_TEST_SUITE_P(Ways, MovedEnclaves,
                         testing::Combine(testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss),
                                          testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss)));

class LyingEnclaves : public testing::TestWithParam<EpcPaging> {
 protected:
  void SetUp() override {
    Side source(GetParam());
    source.build();
    records_ = records_of(source, session_of(1, failed));
  }
  template <class T, class Change>
  Records with(stream::Kind kind, Change change) {
    Records altered = records_;
    const auto record = std::ranges::find(altered, kind, &stream::Record::kind);
    auto value = *stream::decode<T>(record->body);
    change(value);
    record->body = stream::encode(value);
    return altered;
  }
  void expect_refused(const Records& records, const char* why, u8 platform = 1, u8 key = 3) {
    Side target(GetParam(), platform);
    const std::string error = import(target, records, session_of(1, arrived, key));
    EXPECT_NE(error.find(why), std::string::npos) << "found '" << error << "', expected " << why;
  }
  Records records_;
};

TEST_P(LyingEnclaves, AreRefused) {
  using stream::Kind;
  const auto map = [this](auto change) { return with<EpcMapState>(Kind::epc_map, change); };
  expect_refused(map([](EpcMapState& m) { m.pages.push_back(m.pages.front()); }),
                 "version's slot is none, or another's");
  expect_refused(map([](EpcMapState& m) { m.pages[3].slot.page = 77; }), "version's slot is none, or another's");
  expect_refused(map([](EpcMapState& m) { m.pages[3].slot.index = 512; }), "version's slot is none, or another's");
  expect_refused(map([](EpcMapState& m) { m.pages[3].address = 0x1000; }), "0x1000");
  expect_refused(map([](EpcMapState& m) { m.pages.resize(epc_pages + 1); }), "more pages than EPC has");
  expect_refused(with<RootState>(Kind::root, [](RootState& r) { r.number = 1 << 30; }), "expected a lower number");
  expect_refused(with<RootState>(Kind::root, [](RootState& r) { r.image[100] ^= 1; }),
                 "altered, or sealed for another");
  expect_refused(records_, "altered, or sealed for another", 1, 4);
  expect_refused(records_, "platform's keys are others", 2);
  Records some = records_;
  some.pop_back();
  expect_refused(some, "root has not come");
  std::erase_if(some = records_, [&](const stream::Record& record) { return record.kind == Kind::epc_page; });
  expect_refused(some, "has not come");
  some = records_;
  some.push_back(some.front());
  expect_refused(some, "expected nothing behind the root");
  some = records_;
  some.front().body.pop_back();
  expect_refused(some, "its body is not what its kind has");
}

TEST_P(LyingEnclaves, ComeOnceToAPackage) {
  Side target(GetParam());
  ASSERT_EQ(import(target, records_, session_of(1, arrived)), "");
  EXPECT_FALSE(take_enclaves_back(target.machine, arrived));
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  EXPECT_FALSE(commit_enclaves(target.machine, arrived));
}

/// Only the page that was altered.
TEST_P(LyingEnclaves, AnAlteredPageIsLost) {
  u64 address = 0;
  const Records altered = with<EpcPageState>(stream::Kind::epc_page, [&](EpcPageState& page) {
    page.bytes[5] ^= 1;
    address = page.address;
  });
  Side target(GetParam());
  ASSERT_EQ(import(target, altered, session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  if (target.machine.pager == nullptr) return;
  EXPECT_EQ(target.machine.pager->need(Gpa{address}, 0), Pager::Need::lost);
}

/// A domain whose pages leave while it runs (epc/moving/movable_epc.hpp, fixed_early.cpp, pager/early.cpp).
class EarlyEnclaves : public testing::TestWithParam<std::tuple<EpcPaging, EpcPaging>> {
 protected:
  EarlyEnclaves() : source_(std::get<0>(GetParam())), target_(std::get<1>(GetParam())) { source_.build(); }

  u64 left() { return source_.machine.movable_epc()->left(); }
  static u64 pages_of(const Records& records, Gpa page) {
    return static_cast<u64>(std::ranges::count_if(records, [&](const stream::Record& record) {
      return record.kind == stream::Kind::epc_page && stream::decode<EpcPageState>(record.body)->address == page.value;
    }));
  }
  /// Two passes, of which the first takes all. Between them and after them the guest needs a page again: 9, 10.
  Records leave() {
    std::vector<u8> bytes;
    stream::Writer writer(into(bytes));
    LiveCopy copy(source_.machine, writer);
    EXPECT_TRUE(copy.begin(true));
    const u64 all = copy.epc_left();
    EXPECT_GE(*copy.send_epc(true), 79u - Pager::pinned);
    // What a processor needed last stays: its pins, and the two SECSs.
    EXPECT_LE(copy.epc_left(), Pager::pinned + 2) << "of " << all;
    EXPECT_TRUE(done(source_.package.encls(EnclsLeaf::eblock, {.page = source_.frame(9)})));
    source_.frame(10);
    const u64 before = copy.epc_left();
    // Both were used since, but for a SECS whose children are all out; without a pager a processor alone tells.
    EXPECT_LE(*copy.send_epc(false), source_.machine.pager != nullptr ? 1u : 2u);
    EXPECT_LE(copy.epc_left(), before);
    EXPECT_TRUE(copy.finish_but_root());
    bool left = false;
    EXPECT_TRUE(copy.finish_with_root(session_of(1, failed), left));
    EXPECT_TRUE(left);
    return records_in(bytes);
  }

  Side source_, target_;
};

TEST_P(EarlyEnclaves, AreWhatTheyWereLast) {
  const Records records = leave();
  EXPECT_EQ(pages_of(records, source_.at(11)), 1u) << "nobody needed it since";
  EXPECT_EQ(pages_of(records, source_.at(9)), 2u);
  EXPECT_EQ(pages_of(records, source_.at(10)), 2u);
  Records enclaves;
  std::ranges::copy_if(records, std::back_inserter(enclaves),
                       [](const stream::Record& record) { return ArrivingEnclaves::has(record.kind); });
  ASSERT_EQ(import(target_, enclaves, session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target_.machine, arrived));
  EXPECT_NE(target_.info(9).flags & arch::rdinfo::blocked, 0u) << "the guest blocked it after it had left";
  EXPECT_EQ(target_.info(10).flags & arch::rdinfo::blocked, 0u);
}

/// Of a page that left twice the first image has no version any more.
TEST_P(EarlyEnclaves, AnOldPageForANewOneIsLost) {
  Records records = leave();
  std::erase_if(records, [](const stream::Record& record) { return !ArrivingEnclaves::has(record.kind); });
  const auto is_it = [this](const stream::Record& record) {
    return record.kind == stream::Kind::epc_page &&
           stream::decode<EpcPageState>(record.body)->address == source_.at(9).value;
  };
  const auto old = std::ranges::find_if(records, is_it);
  std::ranges::find_if(old + 1, records.end(), is_it)->body = old->body;
  ASSERT_EQ(import(target_, records, session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target_.machine, arrived));
  if (target_.machine.pager != nullptr) {
    EXPECT_EQ(target_.machine.pager->need(target_.at(9), 0), Pager::Need::lost);
    return;
  }
  alignas(32) arch::Rdinfo found{};
  EXPECT_FALSE(done(target_.package.encls(EnclsLeaf::erdinfo, {.page = target_.frame(9), .rdinfo = &found})));
}

/// What was in the guest's enclave when it left, and is not any more, comes nowhere.
TEST_P(EarlyEnclaves, ThatAreGoneByThenDoNotCome) {
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  LiveCopy copy(source_.machine, writer);
  ASSERT_TRUE(copy.begin(true));
  ASSERT_TRUE(copy.send_epc(true));
  ASSERT_TRUE(done(source_.package.eremove(source_.frame(9))));
  if (source_.machine.pager != nullptr && source_.machine.pager->mode() == PagingMode::trap)
    source_.machine.pager->taken_away(source_.at(9));
  ASSERT_TRUE(copy.finish_but_root());
  bool left = false;
  ASSERT_TRUE(copy.finish_with_root(session_of(1, failed), left));
  Records records = records_in(bytes);
  EXPECT_EQ(pages_of(records, source_.at(9)), 1u);
  std::erase_if(records, [](const stream::Record& record) { return !ArrivingEnclaves::has(record.kind); });
  ASSERT_EQ(import(target_, records, session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target_.machine, arrived));
  EXPECT_TRUE(target_.machine.pager == nullptr || target_.machine.pager->absent(target_.at(9)));
  alignas(32) arch::Rdinfo found{};
  EXPECT_FALSE(done(target_.package.encls(EnclsLeaf::erdinfo, {.page = target_.frame(9), .rdinfo = &found})));
}

/// A move that comes to nothing: all is there as it is needed, and another target gets all of it.
TEST_P(EarlyEnclaves, StayAndLeaveAgain) {
  std::vector<u8> bytes;
  {
    stream::Writer writer(into(bytes));
    LiveCopy copy(source_.machine, writer);
    ASSERT_TRUE(copy.begin(true));
    ASSERT_TRUE(copy.send_epc(true));
  }
  if (source_.machine.pager == nullptr) {
    EXPECT_TRUE(source_.machine.fixed_mover->pager().all_here());
    EXPECT_EQ(source_.info(0).status & arch::rdinfo::virtual_child_present, 0u);
  } else {
    const u64 before = source_.machine.pager->counts().resident;
    for (u64 page = 1; page < 40; ++page) source_.frame(page);
    EXPECT_GE(source_.machine.pager->counts().resident, before + 20);
  }
  const Records records = leave();
  for (u64 page = 1; page < 40; ++page) EXPECT_GE(pages_of(records, source_.at(page)), 1u) << page;
}

INSTANTIATE_TEST_SUITE_P(Ways, EarlyEnclaves,
                         testing::Combine(testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss),
                                          testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss)));

/// A domain with a frame for each page, which are all in use: its versions are in frames that were lent to it.
class FullEnclaves : public testing::Test {
 protected:
  void fill(Side& side) {
    side.make_secs(0);
    for (u64 page = 1; page < epc_pages; ++page) side.add(page, 0);
  }
  void expect_full(Side& side, u64 lent) {
    for (u64 page = 1; page < epc_pages; ++page) EXPECT_EQ(side.type_of(page), arch::PageType::reg) << page;
    EXPECT_EQ(side.info(0).status & arch::rdinfo::virtual_child_present, 0u);
    u64 back = 0;
    for (const vmx::EpcSection& row : side.machine.fixed_epc->give_back(epc_pages)) {
      EXPECT_GE(row.first, first + epc_pages) << "it is a page's";
      for (u64 i = 0; i < row.pages; ++i, ++back)
        EXPECT_FALSE(make_free(side.package, side.machine.root_leaves, row.first + i));
    }
    EXPECT_EQ(back, lent) << "it goes back";
  }
  Side source_{EpcPaging::none, 1, 1};
};

TEST_F(FullEnclaves, StayWithoutOne) {
  Side side(EpcPaging::none);
  fill(side);
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  const auto root = write_enclaves(side.machine, writer);
  ASSERT_FALSE(root);
  EXPECT_NE(root.error().find("0 of its EPC pages are free or lent to it, expected 1 for the versions of 512"),
            std::string::npos)
      << root.error();
  expect_full(side, 0);
}

TEST_F(FullEnclaves, LeaveAndComeBack) {
  fill(source_);
  records_of(source_, session_of(1, failed));
  EXPECT_TRUE(source_.machine.fixed_epc->give_back(epc_pages).empty()) << "the root is there";
  ASSERT_TRUE(take_enclaves_back(source_.machine, failed));
  expect_full(source_, 1);
}

TEST_F(FullEnclaves, AreGivenUp) {
  fill(source_);
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  ASSERT_TRUE(write_enclaves(source_.machine, writer));
  ASSERT_TRUE(give_enclaves_up(source_.machine, {.root = {5}, .paging = {6}, .boot = 7}));
  fill(source_);
  expect_full(source_, 1);
}

TEST_F(FullEnclaves, Arrive) {
  fill(source_);
  const Records records = records_of(source_, session_of(1, failed));
  Side without(EpcPaging::none);
  EXPECT_NE(import(without, records, session_of(1, arrived)).find("0 of its EPC pages are free or lent to it"),
            std::string::npos);
  Side target(EpcPaging::none, 1, 2);
  ASSERT_EQ(import(target, records, session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  target.machine.fixed_mover->pager().bring_all(false);
  EXPECT_TRUE(target.machine.fixed_mover->pager().all_here());
  expect_full(target, 2);
}

/// Nobody brings the last one but the guest.
TEST_F(FullEnclaves, AllComeAsTheyAreNeeded) {
  fill(source_);
  Side target(EpcPaging::none, 1, 1);
  ASSERT_EQ(import(target, records_of(source_, session_of(1, failed)), session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  for (u64 page = 0; page < epc_pages; ++page) target.frame(page);
  target.machine.fixed_mover->pager().bring_all(false);
  EXPECT_FALSE(target.machine.epc_virtualization);
  expect_full(target, 1);
}

TEST_F(FullEnclaves, LeaveEarlyAndStay) {
  fill(source_);
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  {
    LiveCopy copy(source_.machine, writer);
    ASSERT_TRUE(copy.begin(true));
    ASSERT_TRUE(copy.send_epc(true));
    EXPECT_FALSE(source_.machine.fixed_mover->pager().here(source_.at(epc_pages - 1)));
  }
  expect_full(source_, 1);
}

TEST_F(FullEnclaves, LeaveEarlyAndThenAll) {
  fill(source_);
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  LiveCopy copy(source_.machine, writer);
  ASSERT_TRUE(copy.begin(true));
  ASSERT_TRUE(copy.send_epc(true));
  ASSERT_TRUE(copy.finish_but_root());
  ASSERT_TRUE(copy.keep_enclaves());
  source_.machine.movable_epc()->end_early();
  expect_full(source_, 1);
}

/// A guest that starts anew has what was lent to the one before it.
TEST_F(FullEnclaves, AreForgotten) {
  fill(source_);
  std::vector<u8> bytes;
  stream::Writer writer(into(bytes));
  LiveCopy copy(source_.machine, writer);
  ASSERT_TRUE(copy.begin(true));
  ASSERT_TRUE(copy.send_epc(true));
  source_.machine.fixed_mover->pager().forget();
  EXPECT_TRUE(clean_epc(source_.package, source_.machine.frames()).empty());
  const auto back = source_.machine.fixed_epc->give_back(epc_pages);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back.front().first, first + epc_pages);
}

/// A domain with a frame for each page, of which some are out while it runs (epc/moving/fixed_pager.hpp).
class LooseEnclaves : public testing::Test {
 protected:
  LooseEnclaves() : side_(EpcPaging::none), writer_(into(bytes_)) {}
  FixedPager& pager() { return side_.machine.fixed_mover->pager(); }
  /// All children are.
  void leave() {
    copy_.emplace(side_.machine, writer_);
    ASSERT_TRUE(copy_->begin(true));
    ASSERT_TRUE(copy_->send_epc(true));
    ASSERT_FALSE(pager().here(side_.at(1)));
  }
  bool counts_children_out(u64 secs) { return (side_.info(secs).status & arch::rdinfo::virtual_child_present) != 0; }

  Side side_;
  std::vector<u8> bytes_;
  stream::Writer writer_;
  std::optional<LiveCopy> copy_;
};

TEST_F(LooseEnclaves, ComeBackIntoTheirFrames) {
  side_.build();
  const auto frame = side_.machine.fixed_epc->frame_of(side_.at(9));
  leave();
  EXPECT_EQ(side_.machine.memory.unmap_epc(side_.at(9)), std::nullopt);
  EXPECT_TRUE(counts_children_out(0));
  pager().need(side_.at(9));
  EXPECT_EQ(side_.machine.memory.unmap_epc(side_.at(9)), frame);
  side_.expect_built();
}

/// So its SECS stays, which has none here.
TEST_F(LooseEnclaves, AreChildrenOfTheirSecs) {
  side_.build();
  leave();
  EXPECT_TRUE(side_.machine.epc_virtualization);
  EXPECT_TRUE(pager().here(side_.at(0)));
  EXPECT_EQ(side_.info(0).status & arch::rdinfo::child_present, 0u);
  copy_.reset();
  EXPECT_FALSE(side_.machine.epc_virtualization);
  EXPECT_TRUE(pager().all_here());
  side_.expect_built();
}

/// A guest that uses all of them all the time has to wait, but for those that leave first.
TEST_F(LooseEnclaves, AreWaitedForWhileTheyLeaveAgain) {
  side_.build();
  leave();
  EXPECT_EQ(side_.machine.epc_wait_us, 0u);
  ASSERT_TRUE(copy_->send_epc(false));
  EXPECT_EQ(side_.machine.epc_wait_us, 0u);
  ASSERT_TRUE(copy_->send_epc(true));
  EXPECT_NE(side_.machine.epc_wait_us, 0u);
  copy_.reset();
  EXPECT_EQ(side_.machine.epc_wait_us, 0u);
}

/// Its frame has versions meanwhile.
TEST_F(LooseEnclaves, GiveAFreePageBackThatIsNeeded) {
  side_.build();
  leave();
  const Gpa last = side_.at(epc_pages - 1);
  ASSERT_FALSE(pager().here(last));
  pager().need(last);
  EXPECT_TRUE(pager().all_here()) << "all had their versions there";
  side_.add(epc_pages - 1, 100);
  ASSERT_TRUE(copy_->send_epc(true)) << "they leave again";
  EXPECT_FALSE(pager().here(last));
  EXPECT_EQ(side_.type_of(epc_pages - 1), arch::PageType::reg);
}

/// One page is free, and has all versions.
TEST_F(LooseEnclaves, TakeOneFreePageForAllTheirVersions) {
  side_.make_secs(0);
  for (u64 page = 1; page + 1 < epc_pages; ++page) side_.add(page, 0);
  leave();
  for (u64 page = 1; page + 1 < epc_pages; ++page) EXPECT_FALSE(pager().here(side_.at(page))) << page;
  EXPECT_TRUE(copy_->finish_but_root());
  EXPECT_TRUE(copy_->keep_enclaves());
  copy_.reset();
  EXPECT_TRUE(pager().all_here());
  EXPECT_FALSE(counts_children_out(0));
  for (u64 page = 1; page + 1 < epc_pages; ++page) EXPECT_EQ(side_.type_of(page), arch::PageType::reg) << page;
}

/// The guest of a move that has come to nothing runs before all is back.
TEST_F(LooseEnclaves, ComeBackWhileTheGuestRuns) {
  side_.build();
  leave();
  ASSERT_TRUE(copy_->finish_but_root());
  ASSERT_TRUE(copy_->keep_enclaves());
  EXPECT_TRUE(pager().here(side_.at(0))) << "its SECS";
  EXPECT_FALSE(pager().here(side_.at(9)));
  EXPECT_EQ(side_.machine.memory.unmap_epc(side_.at(9)), std::nullopt);
  EXPECT_TRUE(side_.machine.epc_virtualization);
  EXPECT_TRUE(counts_children_out(0));
  pager().need(side_.at(9));
  EXPECT_EQ(side_.type_of(9), arch::PageType::reg);
  copy_.reset();
  EXPECT_TRUE(pager().all_here());
  EXPECT_FALSE(side_.machine.epc_virtualization);
  side_.expect_built();
}

TEST_F(LooseEnclaves, AreInUseWhenTheyAreGiven) {
  side_.build();
  leave();
  const MutexLock held(side_.machine.lock);
  const Gpa pages[] = {side_.at(9)};
  const auto given = side_.machine.give_epc(pages);
  ASSERT_TRUE(given);
  EXPECT_EQ(given->pages, 0u);
  EXPECT_EQ(given->stopped, BalloonError::in_use);
  EXPECT_TRUE(pager().here(pages[0]));
}

TEST_F(LooseEnclaves, AreForgotten) {
  side_.build();
  leave();
  pager().forget();
  EXPECT_TRUE(clean_epc(side_.package, side_.machine.frames()).empty());
  EXPECT_TRUE(pager().all_here());
  EXPECT_EQ(*copy_->send_epc(true), 0u);
  copy_.reset();
  side_.build();
  side_.expect_built();
}

/// One of which the SECS comes at once.
TEST_F(LooseEnclaves, ComeLate) {
  side_.build();
  Side target(EpcPaging::none);
  ASSERT_EQ(import(target, records_of(side_, session_of(1, failed)), session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target.machine, arrived));
  FixedPager& late = target.machine.fixed_mover->pager();
  EXPECT_TRUE(late.here(target.at(0)));
  EXPECT_FALSE(late.here(target.at(1)));
  EXPECT_TRUE(target.machine.epc_virtualization);
  late.need(target.at(1));
  EXPECT_TRUE(late.here(target.at(1)));
  late.bring_all(false);
  EXPECT_TRUE(late.all_here());
  EXPECT_FALSE(target.machine.epc_virtualization);
  target.expect_built();
}

/// While some of them are late.
TEST_F(LooseEnclaves, HopOn) {
  side_.build();
  auto target = std::make_unique<Side>(EpcPaging::none);
  ASSERT_EQ(import(*target, records_of(side_, session_of(1, failed)), session_of(1, arrived)), "");
  ASSERT_TRUE(commit_enclaves(target->machine, arrived));
  for (u64 page = 1; page < 20; ++page) target->frame(page);
  Side last(EpcPaging::none);
  ASSERT_EQ(import(last, records_of(*target, session_of(2, failed)), session_of(2, arrived)), "");
  ASSERT_TRUE(commit_enclaves(last.machine, arrived));
  last.expect_built();
}

/// One that was altered comes to nothing, and its version stays in its slot: that loses no other.
class LooseBesideALostOne : public LooseEnclaves {
 protected:
  LooseBesideALostOne() {
    side_.build();
    Records records = records_of(side_, session_of(1, failed));
    for (stream::Record& record : records) {
      if (record.kind != stream::Kind::epc_page) continue;
      auto page = *stream::decode<EpcPageState>(record.body);
      if (page.address == side_.at(lost).value) page.bytes[5] ^= 1;
      record.body = stream::encode(page);
    }
    EXPECT_EQ(import(target_, records, session_of(1, arrived)), "");
    EXPECT_TRUE(commit_enclaves(target_.machine, arrived));
    for (u64 page = 1; page < 20; ++page) target_.frame(page);
  }
  void expect_others() {
    alignas(32) arch::Rdinfo found{};
    for (const u64 secs : {0u, 100u}) {
      for (u64 page = secs; page < secs + 40; ++page) {
        const auto told = target_.package.encls(EnclsLeaf::erdinfo, {.page = target_.frame(page), .rdinfo = &found});
        EXPECT_EQ(done(told), page != lost) << page;
        if (done(told)) {
          EXPECT_EQ((found.flags & arch::rdinfo::blocked) != 0, page == 7) << page;
        }
      }
      EXPECT_EQ(target_.info(secs).status & arch::rdinfo::virtual_child_present, 0u);
    }
  }

  static constexpr u64 lost = 9;
  Side target_{EpcPaging::none};
};

TEST_F(LooseBesideALostOne, LeaveAndComeBack) {
  {
    LiveCopy copy(target_.machine, writer_);
    ASSERT_TRUE(copy.begin(true));
    ASSERT_TRUE(copy.send_epc(true));
  }
  expect_others();
}

TEST_F(LooseBesideALostOne, AllGo) {
  const auto root = write_enclaves(target_.machine, writer_);
  ASSERT_TRUE(root) << root.error();
  ASSERT_TRUE(keep_enclaves(target_.machine));
  expect_others();
}

/// Another memory, all of whose EPC is used all the time.
class AllUsed : public vmx::GuestMemory {
 public:
  explicit AllUsed(vmx::GuestMemory& behind) : behind_(behind) {}
  tl::expected<void, vmx::MapError> map_ram(Gpa base, u64 bytes) override { return behind_.map_ram(base, bytes); }
  tl::expected<void, vmx::MapError> map_epc(Gpa base, Mfn frame, u64 pages) override {
    return behind_.map_epc(base, frame, pages);
  }
  tl::expected<void, vmx::MapError> reserve_epc(Gpa base, u64 pages) override {
    return behind_.reserve_epc(base, pages);
  }
  tl::expected<void, vmx::MapError> map_epc(Gpa page, Mfn frame) override { return behind_.map_epc(page, frame); }
  std::optional<Mfn> unmap_epc(Gpa page) override { return behind_.unmap_epc(page); }
  tl::expected<void, vmx::MapError> unmap(Gpa base, u64 bytes) override { return behind_.unmap(base, bytes); }
  void set_accessed_dirty(bool on) override { behind_.set_accessed_dirty(on); }
  std::vector<bool> take_accessed(Gpa, u64 pages) override { return std::vector<bool>(pages, true); }
  std::vector<bool> take_dirty(Gpa base, u64 pages) override { return behind_.take_dirty(base, pages); }
  std::vector<bool> written(Gpa base, u64 pages) const override { return behind_.written(base, pages); }
  bool read(Gpa from, std::span<std::byte> to) const override { return behind_.read(from, to); }
  bool write(Gpa to, std::span<const std::byte> from) override { return behind_.write(to, from); }
  std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) override {
    return behind_.compare_exchange(at, bytes, expected, desired);
  }

 private:
  vmx::GuestMemory& behind_;
};

/// An enclave that is built while others leave is left, although nothing of it leaves: the guest's pause depends on it.
TEST_F(LooseEnclaves, AreLeftThatWereFreeBefore) {
  AllUsed memory(side_.machine.memory);
  VersionPages versions(side_.package);
  FixedPager pager({.package = side_.package,
                    .memory = memory,
                    .pages = side_.machine.epc_pages,
                    .epc = *side_.machine.fixed_epc,
                    .gate = side_.machine.gate(),
                    .handlers = side_.machine.lock,
                    .leaves = side_.machine.root_leaves,
                    .meet = [](bool) {}},
                   versions);
  side_.make_secs(0);
  side_.add(1, 0);
  std::vector<EarlyPage> early(16);
  pager.begin();
  pager.begin_pass();
  while (pager.leave(true, early) != 0) {
  }
  const u64 before = pager.left();
  for (u64 page = 2; page < 40; ++page) side_.add(page, 0);
  pager.begin_pass();
  while (pager.leave(false, early) != 0) {
  }
  EXPECT_GE(pager.left(), before + 38);
  pager.end();
}

/// Another package, whose EWB fails for a while for one page.
class FailsToWrite final : public tests::PackageInFront {
 public:
  FailsToWrite(vmx::Package& behind, Mfn frame) : PackageInFront(behind), frame_(frame) {}
  vmx::EnclsResult encls(EnclsLeaf leaf, const vmx::LeafOperands& operands) override {
    if (leaf == EnclsLeaf::ewb && fails && operands.page == frame_)
      return {.fault = std::nullopt, .rax = static_cast<u64>(arch::SgxError::not_tracked)};
    return PackageInFront::encls(leaf, operands);
  }
  bool fails = true;

 private:
  Mfn frame_;
};

/// It is blocked then, which the guest has not done: it comes back as it was.
TEST_F(LooseEnclaves, AreNotTheGuestsThatWereBlockedInVain) {
  side_.build();
  FailsToWrite package(side_.package, side_.frame(9));
  VersionPages versions(package);
  FixedPager pager({.package = package,
                    .memory = side_.machine.memory,
                    .pages = side_.machine.epc_pages,
                    .epc = *side_.machine.fixed_epc,
                    .gate = side_.machine.gate(),
                    .handlers = side_.machine.lock,
                    .leaves = side_.machine.root_leaves,
                    .meet = [](bool) {}},
                   versions);
  std::vector<EarlyPage> early(16);
  const auto pass = [&] {
    pager.begin_pass();
    while (pager.leave(true, early) != 0) {
    }
  };
  pager.begin();
  pass();
  EXPECT_TRUE(pager.here(side_.at(9)));
  EXPECT_TRUE(pager.has_blocked(side_.at(9)));
  EXPECT_FALSE(pager.has_blocked(side_.at(7))) << "the guest has";
  package.fails = false;
  pass();
  EXPECT_FALSE(pager.here(side_.at(9)));
  EXPECT_FALSE(pager.has_blocked(side_.at(9)));
  pager.end();
  side_.expect_built();
}

/// Another memory, which counts how often it is asked what was used, and does something at the first time.
class KeepsCount final : public AllUsed {
 public:
  using AllUsed::AllUsed;
  std::vector<bool> take_accessed(Gpa, u64 pages) override {
    ++asked;
    if (const auto once = std::exchange(at_first, nullptr)) once();
    // However busy the host is, who waits has time to be there when the lock is free.
    if (somebody_waits) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return std::vector<bool>(pages, true);
  }
  std::atomic<u32> asked{0};
  std::atomic<bool> somebody_waits{false};
  std::function<void()> at_first;
};

/// Who needs a page does not wait until all others have been looked at.
TEST_F(LooseEnclaves, AreNeededDuringALongPass) {
  side_.build();
  for (u64 page = 201; page < epc_pages - 8; ++page) {  // they were in use once
    side_.add(page, 0);
    EXPECT_TRUE(done(side_.package.eremove(side_.frame(page))));
  }
  KeepsCount memory(side_.machine.memory);
  VersionPages versions(side_.package);
  FixedPager pager({.package = side_.package,
                    .memory = memory,
                    .pages = side_.machine.epc_pages,
                    .epc = *side_.machine.fixed_epc,
                    .gate = side_.machine.gate(),
                    .handlers = side_.machine.lock,
                    .leaves = side_.machine.root_leaves,
                    .meet = [](bool) {}},
                   versions);
  std::vector<EarlyPage> early(16);
  pager.begin();
  pager.begin_pass();
  while (pager.leave(true, early) != 0) {
  }
  ASSERT_FALSE(pager.here(side_.at(1)));
  pager.begin_pass();
  memory.asked = 0;
  u32 asked = 0;
  std::jthread guest;
  memory.at_first = [&] {
    std::promise<void> wants;
    guest = std::jthread([&] {
      memory.somebody_waits = true;
      wants.set_value();
      pager.need(side_.at(1));
      asked = memory.asked;
      memory.somebody_waits = false;
    });
    wants.get_future().wait();
  };
  while (pager.leave(false, early) != 0) {
  }
  guest.join();
  EXPECT_GT(memory.asked, 250u);
  EXPECT_LT(asked, memory.asked) << "it waited for the whole pass";
  pager.end();
}

/// A move that is cut between two passes, or in one, while the guest waits for its pages.
TEST_F(LooseEnclaves, AreNotWaitedForOnceTheirMoveIsCut) {
  side_.build();
  bool cut = false;
  stream::Writer writer([&cut](std::span<const u8>) -> stream::Result<void> {
    if (cut) return tl::unexpected(std::string("it is cut"));
    return {};
  });
  for (const bool within : {false, true}) {
    cut = false;
    std::optional<LiveCopy> copy(std::in_place, side_.machine, writer);
    ASSERT_TRUE(copy->begin(true));
    ASSERT_TRUE(copy->send_epc(true));
    cut = within;
    for (u64 page = 1; page < 20; ++page) side_.frame(page);
    EXPECT_EQ(copy->send_epc(true).has_value(), !within);
    EXPECT_NE(side_.machine.epc_wait_us, 0u);
    copy.reset();
    EXPECT_EQ(side_.machine.epc_wait_us, 0u);
    EXPECT_TRUE(pager().all_here());
  }
  side_.expect_built();
}

/// By several processors at once, of which some need free pages, or give pages back.
TEST_F(LooseEnclaves, AreNeededByManyWhileTheyLeave) {
  side_.build();
  std::atomic<bool> stop{false};
  {
    std::vector<std::jthread> processors;
    for (u64 id = 0; id < 3; ++id) {
      processors.emplace_back([&, id] {
        for (u64 i = id; !stop; i += 7) {
          pager().need(side_.at(i % 50));
          if (i % 11 == 0) pager().need(side_.at(epc_pages - 1 - i % 3));
          const Gpa pages[] = {side_.at(i % 40), side_.at(100 + i % 40)};
          if (i % 13 == 0) pager().while_here(pages, [] { std::this_thread::yield(); });
        }
      });
    }
    LiveCopy copy(side_.machine, writer_);
    EXPECT_TRUE(copy.begin(true));
    for (int pass = 0; pass < 10; ++pass) EXPECT_TRUE(copy.send_epc(true));
    stop = true;
  }
  EXPECT_TRUE(pager().all_here());
  side_.expect_built();
}

/// A guest that gives pages back all the time, by several processors, does not keep others from leaving.
TEST_F(LooseEnclaves, LeaveWhileOthersAreGivenAllTheTime) {
  side_.build();
  constexpr long most = 5000;
  std::atomic<bool> stop{false};
  std::atomic<long> given{0};
  std::vector<std::jthread> processors;
  for (u64 id = 0; id < 3; ++id) {
    processors.emplace_back([&, id] {
      const Gpa pages[] = {side_.at(300 + id)};
      const auto give = [&] {
        ++given;
        std::this_thread::sleep_for(std::chrono::milliseconds(1 + id));
      };
      while (!stop && given < most) pager().while_here(pages, give);
    });
  }
  while (given < 20) std::this_thread::yield();
  leave();
  EXPECT_LT(given, most);
  stop = true;
}

/// What EWB has made of pages of zeros: under a key, each is what its IV makes, so that one that is there twice is one
/// (key, IV) that was used twice (NIST SP 800-38D, 8).
class ZerosSeen {
 public:
  explicit ZerosSeen(const Side& side) {
    for (const u64 secs : {0u, 100u}) {
      for (u64 page = secs + 1; page < secs + 40; ++page)
        zeros_.insert(side.machine.epc_pages.address_of(EpcPage{page}).value);
    }
  }
  void see(const Records& records) {
    for (const stream::Record& record : records) {
      if (record.kind != stream::Kind::epc_page) continue;
      const auto page = *stream::decode<EpcPageState>(record.body);
      if (!zeros_.contains(page.address)) continue;
      ++pages_;
      seen_.insert({page.bytes.begin(), page.bytes.begin() + 32});
    }
  }
  u64 pages() const { return pages_; }
  u64 twice() const { return pages_ - seen_.size(); }

 private:
  std::set<u64> zeros_;
  std::set<std::vector<u8>> seen_;
  u64 pages_ = 0;
};

/// Over a hundred hops, from any way of paging to any other, with pages that leave early and come back in between.
TEST(HoppingEnclaves, NoKeyAndIvOccursTwice) {
  constexpr EpcPaging ways[] = {EpcPaging::oss, EpcPaging::none, EpcPaging::trap, EpcPaging::trap, EpcPaging::oss};
  auto side = std::make_unique<Side>(ways[0]);
  side->build();
  ZerosSeen seen(*side);
  for (u8 hop = 1; hop <= 100; ++hop) {
    // So that each image is a new one.
    for (const u64 secs : {0u, 100u}) {
      for (u64 page = secs + 1; page < secs + 40; ++page) side->frame(page);
    }
    std::vector<u8> bytes;
    stream::Writer writer(into(bytes));
    std::optional<LiveCopy> copy(std::in_place, side->machine, writer);
    ASSERT_TRUE(copy->begin(true));
    ASSERT_TRUE(copy->send_epc(true));
    for (u64 page = 1; page < 40; page += 2) side->frame(page);
    ASSERT_TRUE(copy->send_epc(hop % 2 == 0));
    ASSERT_TRUE(copy->finish_but_root());
    bool left = false;
    ASSERT_TRUE(copy->finish_with_root(session_of(hop, failed), left));
    copy.reset();
    Records records = records_in(bytes);
    seen.see(records);
    std::erase_if(records, [](const stream::Record& record) { return !ArrivingEnclaves::has(record.kind); });
    auto target = std::make_unique<Side>(ways[hop % std::size(ways)]);
    ASSERT_EQ(import(*target, records, session_of(hop, arrived)), "") << hop;
    ASSERT_TRUE(commit_enclaves(target->machine, arrived));
    side = std::move(target);
  }
  EXPECT_GE(seen.pages(), 100u * 78);
  EXPECT_EQ(seen.twice(), 0u) << "of " << seen.pages();
  side->expect_built();
}

/// And it would be seen: two packages that begin alike, as none of one platform do.
TEST(HoppingEnclaves, AKeyAndIvThatOccursTwiceIsSeen) {
  Side one(EpcPaging::oss), same(EpcPaging::oss);
  one.build();
  same.build();
  ZerosSeen seen(one);
  seen.see(records_of(one, session_of(1, failed)));
  EXPECT_EQ(seen.twice(), 0u);
  seen.see(records_of(same, session_of(1, failed)));
  EXPECT_GT(seen.twice(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, LyingEnclaves, testing::Values(EpcPaging::none, EpcPaging::trap, EpcPaging::oss));

}  // namespace
}  // namespace cloister::hypervisor
