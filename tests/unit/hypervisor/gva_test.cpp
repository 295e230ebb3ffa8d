// The guest page-table walk: SDM vol. 3A, ch. 4, on tables in a synthetic memory.
#include "hypervisor/gva.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using namespace arch;

class Tables final : public TableMemory {
 public:
  void set(u64 at, u64 entry) { entries_[at] = entry; }
  u64 get(u64 at) const { return entries_.at(at); }

  std::optional<u64> read(Gpa from, unsigned bytes) const override {
    const auto entry = entries_.find(from.value);
    if (entry == entries_.end()) return std::nullopt;
    return bytes == 4 ? entry->second & 0xffff'ffff : entry->second;
  }
  bool update(Gpa at, u64 expected, u64 desired, unsigned bytes) override {
    if (const auto change = std::exchange(meanwhile_, nullptr)) change();
    if (read(at, bytes) != expected) return false;
    entries_[at.value] = desired;
    return true;
  }
  /// What another processor does between the reading of an entry and its update.
  void before_update(std::function<void()> change) { meanwhile_ = std::move(change); }

 private:
  std::function<void()> meanwhile_;
  std::map<u64, u64> entries_;
};

constexpr u64 present = pte::p, writable = pte::p | pte::rw, user = pte::p | pte::rw | pte::us;

/// 4-level tables that map linear 0x0000'1234'5678'9000 to physical 0xABCDE000; indexes 0x24, 0xD1, 0xB3, 0x189.
class FourLevel : public testing::Test {
 protected:
  static constexpr Gva linear{0x0000'1234'5678'9abc};
  static constexpr u64 pml4e = 0x1000 + 0x24 * 8, pdpte = 0x2000 + 0xd1 * 8, pde = 0x3000 + 0xb3 * 8,
                       pte_at = 0x4000 + 0x189 * 8;
  FourLevel() {
    tables.set(pml4e, 0x2000 | user);
    tables.set(pdpte, 0x3000 | user);
    tables.set(pde, 0x4000 | user);
    tables.set(pte_at, 0xabcd'e000 | user);
  }
  tl::expected<Gpa, WalkFault> walk_to(const WalkAccess& access) { return walk(tables, paging, linear, access); }
  static tl::expected<Gpa, WalkFault> fault(u32 error) { return tl::unexpected(WalkFault{error, false}); }

  Tables tables;
  PagingState paging{.cr0 = cr0::pe | cr0::pg | cr0::wp,
                     .cr3 = 0x1000,
                     .cr4 = cr4::pae,
                     .efer = efer::lme | efer::lma | efer::nxe,
                     .physical_bits = 40};
};

TEST_F(FourLevel, IndexesAreThoseOfFigure4Dash8) { EXPECT_EQ(walk_to({}), Gpa{0xabcd'eabc}); }

TEST_F(FourLevel, AccessedAndDirtyFollowSection4Dot8) {
  ASSERT_TRUE(walk_to({}));
  EXPECT_NE(tables.get(pml4e) & pte::a, 0u);
  EXPECT_NE(tables.get(pte_at) & pte::a, 0u);
  EXPECT_EQ(tables.get(pte_at) & pte::d, 0u) << "a read does not dirty";
  ASSERT_TRUE(walk_to({.write = true}));
  EXPECT_NE(tables.get(pte_at) & pte::d, 0u);
  EXPECT_EQ(tables.get(pde) & pte::d, 0u) << "only the entry that maps the page";
}

TEST_F(FourLevel, AccessedAndDirtyGoOnlyIntoTheEntryThatWasRead) {
  for (const u64 entry : {pml4e, pdpte, pde}) tables.set(entry, tables.get(entry) | pte::a);
  // The page is unmapped meanwhile: neither a translation nor a flag in what is there now.
  tables.before_update([&] { tables.set(pte_at, 0x77'0000); });
  EXPECT_EQ(walk_to({.write = true}), fault(pfec::wr));
  EXPECT_EQ(tables.get(pte_at), 0x77'0000u);
  // It gets another page: the translation is the new one's, with its rights.
  tables.set(pte_at, 0xabcd'e000 | user);
  tables.before_update([&] { tables.set(pte_at, 0x1111'1000 | user); });
  EXPECT_EQ(walk_to({.write = true}), Gpa{0x1111'1abc});
  EXPECT_EQ(tables.get(pte_at), 0x1111'1000 | user | pte::a | pte::d);
  tables.set(pte_at, 0xabcd'e000 | user);
  tables.before_update([&] { tables.set(pte_at, 0xabcd'e000 | present); });
  EXPECT_EQ(walk_to({.write = true, .user = true}), fault(pfec::p | pfec::wr | pfec::us));
  EXPECT_EQ(tables.get(pte_at), 0xabcd'e000 | present);
}

TEST_F(FourLevel, ATableThatIsReplacedMeanwhileGetsNoFlags) {
  tables.set(0x5000 + 0x189 * 8, 0x2222'2000 | user);
  tables.set(pml4e, 0x2000 | user | pte::a);
  tables.set(pdpte, 0x3000 | user | pte::a);
  tables.before_update([&] { tables.set(pde, 0x5000 | present); });
  EXPECT_EQ(walk_to({}), Gpa{0x2222'2abc});
  EXPECT_EQ(tables.get(pde), 0x5000 | present | pte::a);
  EXPECT_EQ(tables.get(pte_at), 0xabcd'e000 | user) << "of the old table";
}

/// Rights of an attempt that came to nothing are not the next one's.
TEST_F(FourLevel, StartsOverWithAllRights) {
  tables.set(pde, 0x4000 | present | pte::us | pte::nx);
  tables.before_update([&] { tables.set(pde, 0x4000 | user); });
  for (const u64 entry : {pml4e, pdpte}) tables.set(entry, tables.get(entry) | pte::a);
  EXPECT_TRUE(walk_to({.write = true}));
  EXPECT_TRUE(walk_to({.fetch = true}));
}

TEST_F(FourLevel, ProbeChangesNothingAndChecksNothing) {
  tables.set(pte_at, 0xabcd'e000 | present);
  EXPECT_EQ(walk_to({.write = true, .user = true, .probe = true}), Gpa{0xabcd'eabc});
  EXPECT_EQ(tables.get(pte_at), 0xabcd'e000 | present);
}

TEST_F(FourLevel, NotPresentHasPClear) {
  tables.set(pde, 0);
  EXPECT_EQ(walk_to({}), fault(0));
  EXPECT_EQ(walk_to({.write = true, .user = true}), fault(pfec::wr | pfec::us));
}

TEST_F(FourLevel, WriteNeedsEveryLevelWritable) {
  tables.set(pdpte, 0x3000 | present | pte::us);
  EXPECT_TRUE(walk_to({}));
  EXPECT_EQ(walk_to({.write = true}), fault(pfec::p | pfec::wr));
  paging.cr0 &= ~cr0::wp;
  EXPECT_TRUE(walk_to({.write = true})) << "without CR0.WP a supervisor write may";
  EXPECT_EQ(walk_to({.write = true, .user = true}), fault(pfec::p | pfec::wr | pfec::us)) << "but a user's may not";
}

TEST_F(FourLevel, UserNeedsEveryLevelUser) {
  tables.set(pml4e, 0x2000 | writable);
  EXPECT_EQ(walk_to({.user = true}), fault(pfec::p | pfec::us));
}

TEST_F(FourLevel, ExecuteDisableIsAnyLevels) {
  tables.set(pde, 0x4000 | user | pte::nx);
  EXPECT_TRUE(walk_to({}));
  EXPECT_EQ(walk_to({.fetch = true}), fault(pfec::p | pfec::id));
  paging.efer &= ~efer::nxe;
  EXPECT_EQ(walk_to({}), fault(pfec::p | pfec::rsvd)) << "without NXE bit 63 is reserved";
}

TEST_F(FourLevel, SmepAndSmapKeepTheSupervisorOffUserPages) {
  paging.cr4 |= cr4::smep | cr4::smap;
  EXPECT_EQ(walk_to({.fetch = true}), fault(pfec::p | pfec::id));
  EXPECT_EQ(walk_to({}), fault(pfec::p));
  paging.ac = true;
  EXPECT_TRUE(walk_to({})) << "RFLAGS.AC lifts SMAP";
  EXPECT_TRUE(walk_to({.user = true}));
}

TEST_F(FourLevel, AddressBitsBeyondTheProcessorsAreReserved) {
  tables.set(pte_at, (u64{1} << 40) | user);
  EXPECT_EQ(walk_to({}), fault(pfec::p | pfec::rsvd));
}

TEST_F(FourLevel, LargePages) {
  tables.set(pde, 0x4000'0000 | user | pte::ps);
  EXPECT_EQ(walk_to({}), Gpa{0x4000'0000 | (linear.value & 0x1f'ffff)});
  tables.set(pdpte, 0xc000'0000 | user | pte::ps);
  EXPECT_EQ(walk_to({}), Gpa{0xc000'0000 | (linear.value & 0x3fff'ffff)});
  tables.set(pdpte, 0xc020'0000 | user | pte::ps);
  EXPECT_EQ(walk_to({}), fault(pfec::p | pfec::rsvd)) << "a 1 GiB frame's bits 29:13 are reserved";
}

TEST_F(FourLevel, TablesOutsideMemoryAreNoPageFault) {
  tables.set(pdpte, 0x7777'7000 | user);
  EXPECT_EQ(walk_to({}), (tl::expected<Gpa, WalkFault>(tl::unexpected(WalkFault{0, true}))));
}

TEST_F(FourLevel, ATableThatPointsAtItselfEnds) {
  for (u64 i = 0; i < 512; ++i) tables.set(0x1000 + i * 8, 0x1000 | user);
  EXPECT_EQ(walk_to({}), Gpa{0x1abc});
}

TEST(Walk, WithoutPagingLinearIsPhysicalIn32Bits) {
  Tables tables;
  EXPECT_EQ(walk(tables, {}, Gva{0x1'2345'6789}, {.write = true}), Gpa{0x2345'6789});
}

TEST(Walk, ThirtyTwoBitPagingAndPse36) {
  Tables tables;  // linear 0x00C03ABC: directory 3, table 3
  tables.set(0x1000 + 3 * 4, 0x2000 | writable);
  tables.set(0x2000 + 3 * 4, 0x5000 | writable);
  PagingState paging{.cr0 = cr0::pe | cr0::pg, .cr3 = 0x1000, .cr4 = cr4::pse, .physical_bits = 40};
  EXPECT_EQ(walk(tables, paging, Gva{0x00c0'3abc}, {}), Gpa{0x5abc});
  // A 4 MiB page with bits 39:32 of its frame in 20:13 (table 4-4).
  tables.set(0x1000 + 3 * 4, 0x0080'0000 | (0x12u << 13) | pte::ps | writable);
  EXPECT_EQ(walk(tables, paging, Gva{0x00c0'3abc}, {}), Gpa{0x12'0080'3abc});
  paging.cr4 = 0;
  tables.set(0x1000 + 3 * 4, 0x2000 | pte::ps | writable);
  EXPECT_EQ(walk(tables, paging, Gva{0x00c0'3abc}, {}), Gpa{0x5abc}) << "without CR4.PSE bit 7 means nothing";
}

TEST(Walk, PaeDirectoryPointersHaveNoPermissions) {
  Tables tables;  // linear 0xC0201ABC: pointer 3, directory 1, table 1
  tables.set(0x1020 + 3 * 8, 0x2000 | present);
  tables.set(0x2000 + 1 * 8, 0x3000 | user);
  tables.set(0x3000 + 1 * 8, 0x1'0000'5000 | user);
  const PagingState paging{.cr0 = cr0::pe | cr0::pg | cr0::wp, .cr3 = 0x1020, .cr4 = cr4::pae, .physical_bits = 36};
  EXPECT_EQ(walk(tables, paging, Gva{0xc020'1abc}, {.write = true, .user = true}), Gpa{0x1'0000'5abc});
  EXPECT_EQ(tables.get(0x1020 + 3 * 8), 0x2000 | present) << "nor accessed bits";
}

TEST(GuestTablesTest, UpdatesOnlyWhatIsThere) {
  silicon::GuestMemory memory;
  ASSERT_TRUE(memory.map_ram(Gpa{0}, 0x1000));
  GuestTables tables(memory);
  EXPECT_TRUE(tables.update(Gpa{8}, 0, 0x1234'5678'9abc'def0, 8));
  EXPECT_FALSE(tables.update(Gpa{8}, 0, 1, 8));
  EXPECT_EQ(tables.read(Gpa{8}, 8), 0x1234'5678'9abc'def0);
  EXPECT_TRUE(tables.update(Gpa{8}, 0x9abc'def0, 0x11, 4));
  EXPECT_FALSE(tables.update(Gpa{8}, 0x9abc'def0, 0x12, 4));
  EXPECT_EQ(tables.read(Gpa{8}, 8), 0x1234'5678'0000'0011);
  EXPECT_FALSE(tables.update(Gpa{0x1000}, 0, 0, 8)) << "no memory";
}

/// An entry that another processor maps and unmaps: flags come only into a present one.
TEST(GuestTablesTest, AnUnmappedEntryStaysAsItIs) {
  silicon::GuestMemory memory;
  ASSERT_TRUE(memory.map_ram(Gpa{0}, 0x5000));
  const auto put = [&](u64 at, u64 value) { ASSERT_TRUE(memory.write(Gpa{at}, std::as_bytes(std::span(&value, 1)))); };
  put(0x1000, 0x2000 | user);
  put(0x2000, 0x3000 | user);
  put(0x3000, 0x4000 | user);
  const PagingState paging{.cr0 = cr0::pe | cr0::pg, .cr3 = 0x1000, .cr4 = cr4::pae, .efer = efer::lme | efer::lma};
  std::atomic<bool> stop = false;
  unsigned walks = 0;
  std::thread walker([&] {
    GuestTables tables(memory);
    for (; !stop || walks < 1000; ++walks) {
      const auto found = walk(tables, paging, Gva{0x123}, {.write = true});
      EXPECT_EQ(found.value_or(Gpa{0x1123}), Gpa{0x1123});
    }
  });
  constexpr u64 page = 0x1000 | user, gone = 0x5555'0000;
  for (int i = 0; i < 5000; ++i) {
    (void)memory.compare_exchange(Gpa{0x4000}, 8, *memory.compare_exchange(Gpa{0x4000}, 8, 0, 0), page);
    // As software takes a page away: whatever flags are there now, none comes after.
    u64 now = page;
    for (u64 found; (found = *memory.compare_exchange(Gpa{0x4000}, 8, now, gone)) != now;) now = found;
    GuestTables tables(memory);
    ASSERT_EQ(tables.read(Gpa{0x4000}, 8), gone);
  }
  stop = true;
  walker.join();
  GuestTables tables(memory);
  EXPECT_EQ(tables.read(Gpa{0x4000}, 8), gone);
}

}  // namespace
}  // namespace cloister::hypervisor
