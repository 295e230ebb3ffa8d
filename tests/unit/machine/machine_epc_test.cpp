// The accounts of the machine's EPC: against a naive model that has a mark for each page, and in the words that a
// person reads.
#include "machine/epc/machine_epc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "sanitized.hpp"

namespace cloister::toolstack {

// For the messages of failing expectations.
void PrintTo(const EpcCount& c, std::ostream* out) {
  *out << "total " << c.total << " free " << c.free << " granted " << c.granted << " withdrawn " << c.withdrawn;
}

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr u64 mib = 256;  // pages
constexpr u64 base0 = 0x10'0000, base1 = 0x90'0000;

using Spec = MachineEpcSpec;
using Requests = std::vector<EpcRequest>;

/// Packages of one section each, of so many MiB.
MachineEpc machine(const std::vector<u64>& sizes, KeySharing keys = KeySharing::shared) {
  Spec spec{.sections = {}, .packages = static_cast<u32>(sizes.size()), .keys = keys};
  for (u32 package = 0; package < sizes.size(); ++package) {
    const arch::Mfn first{base0 + package * (base1 - base0)};
    spec.sections.push_back({.frames = {first, sizes[package] * mib}, .package = package, .node = package});
  }
  return MachineEpc::create(spec).value();
}

constexpr EpcOwner web{1}, db{2}, mail{3};

std::string name(EpcOwner owner) {
  constexpr const char* names[] = {"?", "web", "db", "mail"};
  const auto number = static_cast<std::size_t>(owner);
  return number < std::size(names) ? names[number] : std::string("d").append(std::to_string(number));
}

u64 pages_of(const std::vector<EpcExtent>& extents) {
  u64 sum = 0;
  for (const EpcExtent& e : extents) sum += e.pages;
  return sum;
}

std::string refusal(MachineEpc& epc, EpcOwner owner, const Requests& requests) {
  const auto before = epc.count();
  const auto allocation = epc.allocate(owner, requests);
  EXPECT_EQ(epc.count(), before) << "nothing changes";
  return allocation ? std::string("granted: ").append(allocation->reason) : describe(allocation.error(), name);
}

EpcAllocation granted(MachineEpc& epc, EpcOwner owner, const Requests& requests) {
  auto allocation = epc.allocate(owner, requests);
  EXPECT_TRUE(allocation.has_value()) << (allocation ? "" : describe(allocation.error(), name));
  return allocation.value_or(EpcAllocation{});
}

TEST(MachineEpc, TheTightestPackageIsChosenAndTheReasonGiven) {
  MachineEpc epc = machine({256, 96, 16});
  const EpcAllocation a = granted(epc, web, {{64 * mib, {}}});
  EXPECT_EQ(a.reason,
            "package 1: 96 MiB free is the tightest fit; package 0 has 256 MiB; package 2 has 16 MiB, too little");
  ASSERT_EQ(a.grants.size(), 1u);
  EXPECT_EQ(a.grants[0].package, 1u);
  EXPECT_EQ(epc.count(1), (EpcCount{.total = 96 * mib, .free = 32 * mib, .granted = 64 * mib, .withdrawn = 0}));
  EXPECT_EQ(granted(epc, db, {{16 * mib, {}}}).grants[0].package, 2u);
}

TEST(MachineEpc, SeveralSectionsComeFromOnePackageUnlessTheyNameOthers) {
  MachineEpc epc = machine({256, 96});
  const EpcAllocation both = granted(epc, web, {{64 * mib, {}}, {64 * mib, {}}});
  EXPECT_EQ(both.grants[0].package, 0u);
  EXPECT_EQ(both.grants[1].package, 0u);
  const EpcAllocation named = granted(epc, db, {{64 * mib, 1}, {32 * mib, 0}});
  EXPECT_EQ(named.grants[0].package, 1u);
  EXPECT_EQ(named.grants[1].package, 0u);
  EXPECT_EQ(named.reason, "as asked: 32 MiB of package 0, 64 MiB of package 1");
  const EpcAllocation joined = granted(epc, mail, {{8 * mib, 0}, {8 * mib, {}}});
  EXPECT_EQ(joined.grants[1].package, 0u) << "although package 1 is the tighter fit";
  EXPECT_EQ(joined.reason, "package 0: the domain's other EPC is there, and 88 MiB more are free");
}

TEST(MachineEpc, ShortageSaysWhatIsFreeAndWhoHoldsTheRest) {
  MachineEpc epc = machine({256, 96});
  granted(epc, web, {{40 * mib, 0}});
  granted(epc, db, {{200 * mib, 0}, {mib / 2, 1}});
  ASSERT_TRUE(epc.withdraw(arch::Mfn{base1 + 96 * mib - 1}));
  EXPECT_EQ(
      refusal(epc, mail, {{97 * mib, {}}}),
      "not enough EPC: asked for 97 MiB of any one package: package 0 has 16 MiB free of 256 MiB (db 200 MiB, web "
      "40 MiB); package 1 has 97788 KiB free of 96 MiB (db 512 KiB, withdrawn 4 KiB)");
  EXPECT_THAT(refusal(epc, mail, {{17 * mib, 0}}), HasSubstr("asked for 17 MiB of package 0: package 0 has 16 MiB"));
  EXPECT_THAT(refusal(epc, mail, {{16 * mib, 0}, {90 * mib, 1}, {8 * mib, {}}}),
              HasSubstr("asked for 16 MiB of package 0, 90 MiB of package 1, and 8 MiB of any one package"))
      << "the first two could be had";
  EXPECT_THAT(refusal(epc, mail, {{~u64{0}, 0}, {2, 0}}), HasSubstr("not enough EPC")) << "a sum that wraps around";
}

TEST(MachineEpc, ManyHoldersAreSummedUp) {
  MachineEpc epc = machine({16});
  for (u16 owner = 1; owner <= 12; ++owner) granted(epc, EpcOwner{owner}, {{owner * u64{10}, {}}});
  const std::string text = refusal(epc, EpcOwner{20}, {{16 * mib, {}}});
  EXPECT_THAT(text, AllOf(HasSubstr("(d12 480 KiB, d11 440 KiB,"), HasSubstr("d5 200 KiB, 4 others 400 KiB)")));
}

TEST(MachineEpc, SeparateKeysAllowOnePackageOnly) {
  MachineEpc epc = machine({256, 96}, KeySharing::separate);
  const std::string text = refusal(epc, web, {{64 * mib, 1}, {32 * mib, 0}});
  EXPECT_THAT(text, AllOf(HasSubstr("32 MiB of package 0, 64 MiB of package 1"), HasSubstr("separate keys"),
                          HasSubstr("one package only")));
  EXPECT_EQ(granted(epc, web, {{64 * mib, 1}, {32 * mib, {}}}).grants[1].package, 1u);
  EXPECT_THAT(refusal(epc, db, {{mib, {}}, {mib, 1}}), HasSubstr("not enough EPC")) << "package 0 has room, but no key";
}

TEST(MachineEpc, MalformedRequestsAreRefused) {
  MachineEpc one = machine({16}), two = machine({16, 16});
  EXPECT_EQ(refusal(one, web, {{1, 1}}), "there is no package 1: the machine has one, package 0");
  EXPECT_EQ(refusal(two, web, {{1, 2}}), "there is no package 2: the machine has packages 0 to 1");
  EXPECT_EQ(refusal(two, web, {{0, {}}}), "a section of EPC has no pages");
  EXPECT_THAT(refusal(two, EpcOwner{0}, {{1, {}}}), HasSubstr("expected 1 to 32751"));
  EXPECT_THAT(refusal(two, EpcOwner{0xffff}, {{1, {}}}), HasSubstr("65535 is no owner's number"));
}

TEST(MachineEpc, PrefersOneExtentAndTheSmallestThatSuffices) {
  MachineEpc epc = machine({100});
  for (u16 owner = 1; owner <= 10; ++owner) granted(epc, EpcOwner{owner}, {{10 * mib, {}}});
  for (const u16 owner : {u16{2}, u16{5}, u16{6}, u16{9}}) epc.release(EpcOwner{owner});  // holes of 10, 20 and 10 MiB
  const EpcAllocation small = granted(epc, EpcOwner{20}, {{10 * mib, {}}});
  EXPECT_EQ(small.grants[0].extents.front().first.value, base0 + 10 * mib);
  const EpcAllocation whole = granted(epc, EpcOwner{21}, {{20 * mib, {}}});
  ASSERT_EQ(whole.grants[0].extents.size(), 1u) << "the hole of 20 MiB was spared";
  EXPECT_EQ(whole.grants[0].extents[0].first.value, base0 + 40 * mib);
}

TEST(MachineEpc, ARequestMayBeMetBySeveralExtentsOfOnePackage) {
  MachineEpc epc = machine({100, 30});
  for (u16 owner = 1; owner <= 10; ++owner) granted(epc, EpcOwner{owner}, {{10 * mib, 0}});
  for (const u16 owner : {u16{2}, u16{5}, u16{6}, u16{9}}) epc.release(EpcOwner{owner});
  const EpcAllocation a = granted(epc, EpcOwner{20}, {{35 * mib, {}}});
  EXPECT_EQ(a.grants[0].package, 0u);
  EXPECT_EQ(a.grants[0].extents.size(), 3u);
  EXPECT_EQ(pages_of(a.grants[0].extents), 35 * mib);
  EXPECT_EQ(epc.count(0).free, 5 * mib);
}

TEST(MachineEpc, ExtentsDoNotCrossTheEndsOfSections) {
  const Spec spec{.sections = {{{arch::Mfn{1000}, 100}, 0, 0}, {{arch::Mfn{1100}, 100}, 0, 1}}, .packages = 1};
  MachineEpc epc = MachineEpc::create(spec).value();
  const EpcAllocation a = granted(epc, web, {{150, {}}});
  EXPECT_EQ(a.grants[0].extents.size(), 2u);
  EXPECT_EQ(epc.release(web), 150u);
  EXPECT_FALSE(epc.reserve(web, std::array{EpcExtent{arch::Mfn{1050}, 100}})) << "frames of two sections";
  EXPECT_EQ(epc.package_of(arch::Mfn{1199}), 0u);
  EXPECT_EQ(epc.package_of(arch::Mfn{1200}), std::nullopt);
  EXPECT_EQ(epc.package_of(arch::Mfn{999}), std::nullopt);
}

TEST(MachineEpc, WithdrawnFramesAreNobodysForGood) {
  MachineEpc epc = machine({1});
  granted(epc, web, {{10, {}}});
  for (const u64 frame : {base0 + 4, base0 + 5, base0 + 20, base0 + 4}) ASSERT_TRUE(epc.withdraw(arch::Mfn{frame}));
  EXPECT_EQ(epc.count(), (EpcCount{.total = 256, .free = 245, .granted = 8, .withdrawn = 3}));
  EXPECT_EQ(epc.held(web, 0), 8u);
  EXPECT_EQ(epc.owner_of(arch::Mfn{base0 + 4}), std::nullopt);
  EXPECT_EQ(epc.owner_of(arch::Mfn{base0 + 3}), web);
  const auto withdrawn = epc.withdrawn(0);
  ASSERT_EQ(withdrawn.size(), 2u);
  EXPECT_EQ(withdrawn[0].first.value, base0 + 4);
  EXPECT_EQ(withdrawn[0].pages, 2u);
  EXPECT_EQ(epc.release(web), 8u);
  EXPECT_EQ(epc.count(), (EpcCount{.total = 256, .free = 253, .granted = 0, .withdrawn = 3}));
  const EpcAllocation rest = granted(epc, db, {{253, {}}});
  for (const EpcExtent& e : rest.grants[0].extents)
    for (const u64 frame : {base0 + 4, base0 + 5, base0 + 20})
      EXPECT_FALSE(frame >= e.first.value && frame < e.first.value + e.pages);
  EXPECT_FALSE(epc.withdraw(arch::Mfn{base0 + 256}));
}

TEST(MachineEpc, ADaemonsRecordsRebuildTheSameAccounts) {
  MachineEpc before = machine({64, 64});
  granted(before, web, {{10 * mib, 0}, {3 * mib, 1}});
  granted(before, db, {{7 * mib, 0}});
  before.release(web, {arch::Mfn{base0 + 2 * mib}, 5});
  MachineEpc after = machine({64, 64});
  for (const EpcOwner owner : {db, web}) ASSERT_TRUE(after.reserve(owner, before.extents_of(owner)));
  for (const u32 package : {0u, 1u}) {
    EXPECT_EQ(after.count(package), before.count(package));
    EXPECT_EQ(after.holders(package), before.holders(package));
  }
  const auto overlap = after.reserve(
      mail, std::array{EpcExtent{arch::Mfn{base1 + 10 * mib}, 5}, EpcExtent{arch::Mfn{base1 + 10 * mib + 4}, 1}});
  ASSERT_FALSE(overlap);
  EXPECT_EQ(overlap.error(), "0x900a04000 (4 KiB) is not free");
  EXPECT_EQ(after.held(mail, 1), 0u) << "nothing is changed on failure";
  const auto outside = after.reserve(mail, std::array{EpcExtent{arch::Mfn{base1 + 64 * mib - 1}, 2}});
  ASSERT_FALSE(outside);
  EXPECT_THAT(outside.error(), HasSubstr("is not EPC of one section of this machine"));
  EXPECT_EQ(after.count(1), before.count(1));
}

TEST(MachineEpc, PartsThatAreNotAllTheOwnersAreNotReleased) {
  MachineEpc epc = machine({1});
  granted(epc, web, {{10, {}}});
  granted(epc, db, {{10, {}}});
  EXPECT_FALSE(epc.release(web, {arch::Mfn{base0 + 5}, 10}));
  EXPECT_FALSE(epc.release(EpcOwner{0}, {arch::Mfn{base0 + 30}, 1})) << "free pages are no owner's";
  EXPECT_FALSE(epc.release(web, {arch::Mfn{base0}, 0}));
  EXPECT_EQ(epc.count().granted, 20u);
  EXPECT_TRUE(epc.release(web, {arch::Mfn{base0 + 3}, 4}));
  const auto left = epc.extents_of(web);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].pages, 3u);
  EXPECT_EQ(left[1].first.value, base0 + 7);
}

TEST(MachineEpc, SectionsThatCannotBeAreRefused) {
  const auto error = [](std::vector<MachineSection> sections, u32 packages) {
    const auto epc = MachineEpc::create({.sections = std::move(sections), .packages = packages});
    return epc ? "" : epc.error();
  };
  EXPECT_EQ(error({{{arch::Mfn{100}, 10}, 0, 0}, {{arch::Mfn{109}, 10}, 0, 0}}, 1),
            "EPC section 0x6d000 (40 KiB) overlaps section 0x64000 (40 KiB)");
  EXPECT_EQ(error({{{arch::Mfn{110}, 10}, 0, 0}, {{arch::Mfn{100}, 10}, 0, 0}}, 1), "") << "neighbours, in any order";
  EXPECT_THAT(error({{{arch::Mfn{100}, 10}, 1, 0}}, 1), HasSubstr("there is no package 1"));
  EXPECT_THAT(error({{{arch::Mfn{100}, 0}, 0, 0}}, 1), HasSubstr("no such range"));
  EXPECT_THAT(error({{{arch::Mfn{100}, u64{1} << 32}, 0, 0}}, 1), HasSubstr("16 TiB"));
}

// ------------------------------------------------------------------------------------------------ the bound

/// A machine of one package, and every page of it an extent of its own: alternately granted and free.
MachineEpc checkerboard(u64 pages) {
  MachineEpc epc = MachineEpc::create({.sections = {{{arch::Mfn{base0}, pages}, 0, 0}}, .packages = 1}).value();
  EXPECT_TRUE(epc.reserve(web, std::array{EpcExtent{arch::Mfn{base0}, pages}}));
  for (u64 i = 1; i < pages; i += 2) EXPECT_TRUE(epc.release(web, {arch::Mfn{base0 + i}, 1}));
  EXPECT_EQ(epc.count().free, pages / 2);
  EXPECT_EQ(epc.extents_of(web).size(), (pages + 1) / 2);
  return epc;
}

// What can ever be resident is reserved, so this bounds every pattern of one owner; each further owner of 32 pages or
// more pays its 64 bytes out of what a page leaves.
TEST(MachineEpc, AccountsNeverTakeMoreThan16BytesAPage) {
  for (const u64 size : {16 * mib, 256 * mib, 1024 * 1024 * mib}) {
    const MachineEpc epc = MachineEpc::create({.sections = {{{arch::Mfn{base0}, size}, 0, 0}}, .packages = 1}).value();
    EXPECT_LE(epc.metadata().reserved, 16 * size) << size_text(size);
    EXPECT_LE(epc.metadata().resident, u64{64} << 10) << size_text(size) << ": untouched";
  }
  const u64 pages = 256 * mib;
  const MachineEpc epc = checkerboard(pages);
  const MachineEpc::Metadata worst = epc.metadata();
  EXPECT_LE(worst.resident, 16 * pages);
  EXPECT_GT(worst.resident, 14 * pages) << "this is the worst case: every record is in use";
}

TEST(MachineEpc, ACheckerboardIsStillUsable) {
  const u64 pages = 4 * mib;
  MachineEpc epc = checkerboard(pages);
  const EpcAllocation a = granted(epc, db, {{pages / 2, {}}});
  EXPECT_EQ(a.grants[0].extents.size(), pages / 2);
  EXPECT_EQ(epc.count().free, 0u);
  EXPECT_EQ(epc.release(web) + epc.release(db), pages);
  EXPECT_EQ(granted(epc, mail, {{pages, {}}}).grants[0].extents.size(), 1u) << "all of it is one extent again";
}

// ------------------------------------------------------------------------------------------------ the model

/// A mark for each frame: 0 free, 0xffff withdrawn, else the owner.
struct Model {
  std::map<u64, u16> marks;

  u64 count(u32 package, const MachineEpc& epc, auto&& matches) const {
    u64 n = 0;
    for (const auto& [frame, mark] : marks) n += *epc.package_of(arch::Mfn{frame}) == package && matches(mark);
    return n;
  }
};

void expect_same(const MachineEpc& epc, const Model& model) {
  for (u32 package = 0; package < epc.packages(); ++package) {
    const EpcCount count = epc.count(package);
    EXPECT_EQ(count.free, model.count(package, epc, [](u16 m) { return m == 0; }));
    EXPECT_EQ(count.withdrawn, model.count(package, epc, [](u16 m) { return m == 0xffff; }));
    EXPECT_EQ(count.granted, model.count(package, epc, [](u16 m) { return m != 0 && m != 0xffff; }));
    EXPECT_EQ(count.total, count.free + count.granted + count.withdrawn);
    for (const EpcHolder& holder : epc.holders(package)) {
      const auto mine = [&](u16 m) { return m == static_cast<u16>(holder.owner); };
      EXPECT_EQ(holder.pages, model.count(package, epc, mine));
    }
    EXPECT_EQ(pages_of(epc.withdrawn(package)), count.withdrawn);
  }
  for (const auto& [frame, mark] : model.marks) {
    const auto owner = epc.owner_of(arch::Mfn{frame});
    EXPECT_EQ(owner ? static_cast<u16>(*owner) : 0, mark == 0xffff ? 0 : mark) << frame;
  }
}

/// Two packages, one of them with two sections.
constexpr std::array sections{MachineSection{{arch::Mfn{500}, 120}, 0, 0}, MachineSection{{arch::Mfn{620}, 37}, 1, 1},
                              MachineSection{{arch::Mfn{657}, 200}, 0, 2}};
constexpr u16 owners = 12;

/// Applies random operations to the accounts and to the model.
class Player {
 public:
  explicit Player(u32 seed) : random_(seed) {
    epc_ = MachineEpc::create({.sections = {sections.begin(), sections.end()}, .packages = 2}).value();
    for (const MachineSection& s : sections)
      for (u64 i = 0; i < s.frames.pages; ++i) model_.marks[s.frames.first.value + i] = 0;
  }
  void step() {
    switch (up_to(9)) {
      case 0: withdraw(); break;
      case 1: reserve(); break;
      case 2:
      case 3: release_part(); break;
      case 4:
      case 5: release_all(); break;
      default: allocate(); break;
    }
  }
  void check() const { expect_same(*epc_, model_); }

 private:
  u64 up_to(u64 most) { return std::uniform_int_distribution<u64>(0, most)(random_); }
  u16 any_owner() { return static_cast<u16>(1 + up_to(owners - 1)); }
  arch::Mfn any_frame() { return arch::Mfn{498 + up_to(362)}; }
  bool all(const EpcExtent& extent, u16 mark) const {
    for (u64 i = 0; i < extent.pages; ++i) {
      const auto found = model_.marks.find(extent.first.value + i);
      if (found == model_.marks.end() || found->second != mark) return false;
    }
    return extent.pages != 0;
  }
  /// In one section.
  static bool whole(const EpcExtent& extent) {
    return std::ranges::any_of(sections, [&](const MachineSection& s) {
      return extent.first >= s.frames.first && extent.first + extent.pages <= s.frames.first + s.frames.pages;
    });
  }
  void set(const EpcExtent& extent, u16 mark) {
    for (u64 i = 0; i < extent.pages; ++i) model_.marks.at(extent.first.value + i) = mark;
  }

  void allocate() {
    const u16 owner = any_owner();
    Requests requests(1 + up_to(2));
    for (EpcRequest& request : requests) {
      request.pages = 1 + up_to(up_to(3) == 0 ? 200 : 20);
      if (up_to(1) != 0) request.package = static_cast<u32>(up_to(1));
    }
    const auto allocation = epc_->allocate(EpcOwner{owner}, requests);
    if (!allocation) return;  // nothing may have changed: check() sees to that
    ASSERT_EQ(allocation->grants.size(), requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const EpcGrant& grant = allocation->grants[i];
      EXPECT_EQ(pages_of(grant.extents), requests[i].pages);
      EXPECT_EQ(requests[i].package.value_or(grant.package), grant.package);
      for (const EpcExtent& extent : grant.extents) {
        EXPECT_TRUE(all(extent, 0) && whole(extent)) << "only what was free, in one section";
        EXPECT_EQ(epc_->package_of(extent.first), grant.package);
        set(extent, owner);
      }
    }
  }
  void release_all() {
    const u16 owner = any_owner();
    u64 expected = 0;
    for (auto& [frame, mark] : model_.marks) {
      expected += mark == owner;
      if (mark == owner) mark = 0;
    }
    EXPECT_EQ(epc_->release(EpcOwner{owner}), expected);
  }
  void release_part() {
    const EpcExtent part{any_frame(), up_to(12)};
    const auto found = model_.marks.find(part.first.value);
    const u16 owner = found == model_.marks.end() || up_to(5) == 0 ? any_owner() : found->second;
    const bool fine = owner != 0 && owner != 0xffff && all(part, owner) && whole(part);
    EXPECT_EQ(epc_->release(EpcOwner{owner}, part).has_value(), fine);
    if (fine) set(part, 0);
  }
  void reserve() {
    const u16 owner = any_owner();
    const EpcExtent a{any_frame(), up_to(12)}, b{any_frame(), up_to(12)};
    const bool apart = a.first + a.pages <= b.first || b.first + b.pages <= a.first;
    const bool fine = all(a, 0) && all(b, 0) && whole(a) && whole(b) && apart;
    EXPECT_EQ(epc_->reserve(EpcOwner{owner}, std::array{a, b}).has_value(), fine);
    if (fine) set(a, owner);
    if (fine) set(b, owner);
  }
  void withdraw() {
    if (up_to(7) != 0) return;  // rare, or soon nothing is left
    const arch::Mfn frame = any_frame();
    EXPECT_EQ(epc_->withdraw(frame).has_value(), model_.marks.contains(frame.value));
    if (model_.marks.contains(frame.value)) model_.marks[frame.value] = 0xffff;
  }

  std::mt19937 random_;
  tl::expected<MachineEpc, std::string> epc_ = tl::unexpected(std::string());
  Model model_;
};

TEST(MachineEpc, AgreesWithAMarkForEachPage) {
  for (u32 seed = 1, last = is_sanitized() ? 4 : 40; seed <= last; ++seed) {
    Player player(seed);
    for (int i = 0; i < 300; ++i) {
      player.step();
      if (i % 5 == 0) player.check();
      if (::testing::Test::HasFailure()) FAIL() << "seed " << seed << ", step " << i;
    }
    player.check();
  }
}

}  // namespace
}  // namespace cloister::toolstack
