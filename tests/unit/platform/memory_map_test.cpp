// The memory map: what is where for sizes around its edges, and that nothing overlaps for any size.
#include "platform/memory_map.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "platform/acpi.hpp"

namespace cloister::platform {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr u64 mib = u64{1} << 20, gib = u64{1} << 30;

MapEntry entry(u64 base, u64 end, MapType type) { return {arch::Gpa{base}, end - base, type}; }

TEST(MemoryMap, HasAPcsFirstMebibyteAndTheEpcAbove4GiB) {
  const auto map = make_memory_map(512 * mib, 64 * mib, 39);
  ASSERT_TRUE(map) << map.error();
  EXPECT_THAT(map->entries,
              ElementsAre(entry(0, 0xa'0000, MapType::ram), entry(0xa'0000, 0xe'0000, MapType::reserved),
                          entry(0xe'0000, 0xe'f000, MapType::acpi), entry(0xe'f000, 0xf'0000, MapType::nvs),
                          entry(0xf'0000, 0x10'0000, MapType::reserved), entry(mib, 512 * mib, MapType::ram),
                          entry(0xfec0'0000, 0xfec0'1000, MapType::reserved),
                          entry(0xfee0'0000, 0xfee0'1000, MapType::reserved),
                          entry(4 * gib, 4 * gib + 64 * mib, MapType::reserved)));
  EXPECT_THAT(map->epc, ElementsAre(EpcRange{arch::Gpa{4 * gib}, 64 * mib}));
  EXPECT_EQ(map->physical_bits, 33u);
}

TEST(MemoryMap, WithoutEpc32BitsSuffice) {
  const auto map = make_memory_map(3 * gib, 0, 39);
  ASSERT_TRUE(map);
  EXPECT_TRUE(map->epc.empty());
  EXPECT_EQ(map->physical_bits, 32u);
}

TEST(MemoryMap, RamBeyond3GiBGoesOnAt4GiB) {
  const auto map = make_memory_map(3 * gib + mib, 0, 39);
  ASSERT_TRUE(map);
  EXPECT_EQ(map->entries[5], entry(mib, 3 * gib, MapType::ram));
  EXPECT_EQ(map->entries.back(), entry(4 * gib, 4 * gib + mib, MapType::ram));
  EXPECT_EQ(map->physical_bits, 33u);
}

TEST(MemoryMap, AlignsTheEpcToItsSizeUpTo1GiB) {
  auto base = [](u64 memory, u64 epc) { return make_memory_map(memory, epc, 46)->epc.at(0).base.value; };
  EXPECT_EQ(base(3 * gib + mib, mib), 4 * gib + mib);
  EXPECT_EQ(base(3 * gib + mib, 3 * mib), 4 * gib + 4 * mib);
  EXPECT_EQ(base(3 * gib + mib, 64 * mib), 4 * gib + 64 * mib);
  EXPECT_EQ(base(3 * gib + mib, 4 * gib), 5 * gib);
  EXPECT_EQ(base(512 * mib, 4 * gib), 4 * gib);  // more EPC than RAM
}

TEST(MemoryMap, PlacesSeveralSectionsInOrder) {
  const EpcSize sections[] = {{64 * mib, 1}, {3 * mib, 0}, {4 * gib, 1}};
  const auto map = make_memory_map(512 * mib, sections, 39);
  ASSERT_TRUE(map) << map.error();
  EXPECT_THAT(map->epc, ElementsAre(EpcRange{arch::Gpa{4 * gib}, 64 * mib, 1},
                                    EpcRange{arch::Gpa{4 * gib + 64 * mib}, 3 * mib, 0},
                                    EpcRange{arch::Gpa{5 * gib}, 4 * gib, 1}));
  for (const EpcRange& range : map->epc)
    EXPECT_THAT(map->entries, ::testing::Contains(MapEntry{range.base, range.bytes, MapType::reserved}));
}

TEST(MemoryMap, DividesRamBetweenTheNodesOfTheEpc) {
  const auto nodes = [](u64 memory, u32 count) {
    std::vector<EpcSize> sections;
    for (u32 node = 0; node < count; ++node) sections.push_back({mib, node});
    return ram_by_node(*make_memory_map(memory, sections, 46));
  };
  EXPECT_THAT(nodes(512 * mib, 1), ElementsAre(NodeRange{arch::Gpa{0}, 512 * mib, 0}));
  EXPECT_THAT(nodes(512 * mib, 0), ElementsAre(NodeRange{arch::Gpa{0}, 512 * mib, 0}));
  EXPECT_THAT(nodes(512 * mib, 2),
              ElementsAre(NodeRange{arch::Gpa{0}, 256 * mib, 0}, NodeRange{arch::Gpa{256 * mib}, 256 * mib, 1}));
  EXPECT_THAT(nodes(33 * mib, 2),
              ElementsAre(NodeRange{arch::Gpa{0}, 16 * mib, 0}, NodeRange{arch::Gpa{16 * mib}, 17 * mib, 1}));
  EXPECT_THAT(nodes(8 * gib, 2), ElementsAre(NodeRange{arch::Gpa{0}, 3 * gib, 0}, NodeRange{arch::Gpa{4 * gib}, gib, 0},
                                             NodeRange{arch::Gpa{5 * gib}, 4 * gib, 1}));
  EXPECT_THAT(nodes(4 * gib, 2), ElementsAre(NodeRange{arch::Gpa{0}, 2 * gib, 0}, NodeRange{arch::Gpa{2 * gib}, gib, 1},
                                             NodeRange{arch::Gpa{4 * gib}, gib, 1}));
}

TEST(MemoryMap, IsSortedDisjointAndWholeForManySizes) {
  for (u64 memory : {2 * mib, 64 * mib, 3 * gib - mib, 3 * gib, 3 * gib + mib, 5 * gib, 64 * gib + 3 * mib})
    for (u64 epc : {u64{0}, mib, 5 * mib, 64 * mib, 1023 * mib, 4 * gib, 100 * gib + mib}) {
      const auto map = make_memory_map(memory, epc, 46);
      ASSERT_TRUE(map) << map.error();
      u64 end = 0, ram = 0;
      for (const MapEntry& e : map->entries) {
        EXPECT_GE(e.base.value, end);
        EXPECT_GT(e.bytes, 0u);
        EXPECT_EQ((e.base.value | e.bytes) & arch::page_mask, 0u);
        end = e.base.value + e.bytes;
        if (e.type == MapType::ram) ram += e.bytes;
      }
      EXPECT_EQ(ram, memory - (legacy_hole_end - legacy_hole_base));
      EXPECT_LE(end, u64{1} << map->physical_bits);
      EXPECT_GT(std::max(end, 4 * gib), u64{1} << (map->physical_bits - 1));

      u64 backed = 0;
      for (const MapEntry& e : ram_backing(*map)) backed += e.bytes;
      EXPECT_EQ(backed, memory);
    }
}

TEST(MemoryMap, BacksTheAcpiTablesWithRam) {
  EXPECT_THAT(ram_backing(*make_memory_map(4 * gib, mib, 39)),
              ElementsAre(entry(0, 3 * gib, MapType::ram), entry(4 * gib, 5 * gib, MapType::ram)));
}

TEST(MemoryMap, SaysWhatDoesNotFit) {
  auto error = [](u64 memory, u64 epc, unsigned bits) {
    const auto map = make_memory_map(memory, epc, bits);
    return map ? "" : map.error();
  };
  EXPECT_EQ(error(59 * gib, 4 * gib, 36), "");  // 4 GiB + 56 GiB + 4 GiB: all of the 64
  EXPECT_THAT(error(59 * gib, 4 * gib + mib, 36), HasSubstr("needs 37 physical address bits; the processor has 36"));
  EXPECT_THAT(error(65 * gib, 0, 36), HasSubstr("memory: 66560 MiB do not fit in the processor's 36"));
  EXPECT_THAT(error(gib, ~(mib - 1), 39), HasSubstr("epc: "));
  EXPECT_THAT(error(~(mib - 1), ~(mib - 1), 64), HasSubstr("52 physical address bits"));
  EXPECT_THAT(error(gib, mib, 32), HasSubstr("needs 33 physical address bits; the processor has 32"));
  EXPECT_THAT(error(mib, 0, 39), HasSubstr("memory: 1048576 bytes; expected"));
  EXPECT_THAT(error(2 * mib + 1, 0, 39), HasSubstr("multiple of 1 MiB"));
  EXPECT_THAT(error(2 * mib, 4096, 39), HasSubstr("epc: 4096 bytes; expected a multiple of 1 MiB"));
}

}  // namespace
}  // namespace cloister::platform
