// Partition tables as UEFI 2.10, 5.3 (GPT) and the MBR's tradition have them, and as somebody may write them who means
// harm.
#include "boot/partitions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/boot/bytes_disk.hpp"

namespace cloister::boot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using tests::BytesDisk;

constexpr u64 sector = 512;
constexpr std::size_t mib = 1 << 20;
constexpr u64 all = 64 * mib;

Part part(u64 first, u64 sectors, u32 number) {
  return {.start = first * sector, .bytes = sectors * sector, .number = number};
}

TEST(Partitions, NoneWithoutATable) {
  BytesDisk empty(std::size_t{0}), zeros(mib);
  EXPECT_THAT(partitions_of(empty), IsEmpty());
  EXPECT_THAT(partitions_of(zeros), IsEmpty());
}

TEST(Partitions, OfAnMbrWithLogicalOnes) {
  BytesDisk disk(all);
  disk.put_mbr(0, 0, 0x83, 2048, 1000);
  disk.put_mbr(0, 1, 0, 5000, 1);  // not used
  disk.put_mbr(0, 2, 0x05, 8192, 20'000);
  disk.put_mbr(0, 3, 0x83, 100'000, 1'000'000);  // goes on beyond the end
  disk.put_mbr(8192, 0, 0x83, 63, 100);
  disk.put_mbr(8192, 1, 0x05, 1000, 1000);
  disk.put_mbr(9192, 0, 0x82, 63, 200);
  EXPECT_THAT(partitions_of(disk), ElementsAre(part(2048, 1000, 1), part(100'000, all / sector - 100'000, 4),
                                               part(8255, 100, 5), part(9255, 200, 6)));
}

TEST(Partitions, OfAGpt) {
  BytesDisk disk(all);
  disk.put_gpt(2, 128, 128);
  disk.put_gpt_entry(2 * sector, 2048, 4095);
  disk.put_gpt_entry(2 * sector + 13 * 128, 8192, 8192);
  EXPECT_THAT(partitions_of(disk), ElementsAre(part(2048, 2048, 1), part(8192, 1, 14)));
}

TEST(Partitions, OfAGptWithLongEntries) {
  BytesDisk disk(all);
  disk.put_gpt(40, 4, 512);
  disk.put_gpt_entry(41 * sector, 3000, 3009);
  EXPECT_THAT(partitions_of(disk), ElementsAre(part(3000, 10, 2)));
}

TEST(Partitions, ACircleOfLogicalOnesEnds) {
  BytesDisk disk(all);
  disk.put_mbr(0, 0, 0x0f, 2048, 10'000);
  disk.put_mbr(2048, 0, 0x83, 1, 1);
  disk.put_mbr(2048, 1, 0x05, 100, 1);
  disk.put_mbr(2148, 0, 0x83, 1, 1);
  disk.put_mbr(2148, 1, 0x05, 100, 1);  // itself
  EXPECT_LE(partitions_of(disk).size(), most_partitions);
}

TEST(Partitions, OfHostileTablesWhatLiesOnTheDisk) {
  BytesDisk disk(all);
  for (const u64 last : {u64{0}, u64{2047}, ~u64{0}}) {
    disk.put_gpt(2, 0xffff'ffff, 128);
    disk.put_gpt_entry(2 * sector, 2048, last);
    disk.put_gpt_entry(2 * sector + 128, ~u64{0} - 1, ~u64{0});
    disk.put_gpt_entry(2 * sector + 256, 0, ~u64{0});
    for (const Part& one : partitions_of(disk)) EXPECT_LE(one.start + one.bytes, all);
  }
  for (const u32 length : {0u, 1u, 127u, 4097u, 0xffff'ffffu}) {
    disk.put_gpt(2, 1, length);
    EXPECT_THAT(partitions_of(disk), IsEmpty()) << length;
  }
  disk.put_gpt(~u64{0}, 128, 128);
  EXPECT_THAT(partitions_of(disk), IsEmpty());
  // The table's own end is the disk's.
  disk.put_gpt(all / sector - 1, 128, 128);
  disk.put_gpt_entry(all - sector, 2048, 2048);
  EXPECT_THAT(partitions_of(disk), ElementsAre(part(2048, 1, 1)));
}

}  // namespace
}  // namespace cloister::boot
