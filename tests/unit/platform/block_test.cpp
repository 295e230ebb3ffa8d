// A virtio disk (virtio 1.2, 5.2.6), request by request, against a model.
#include "platform/virtio/block.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "unit/platform/disk_in_memory.hpp"
#include "unit/platform/virtio_driver.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 sectors = 4096, header_at = 0x5000, status_at = 0x5100, data_at = 0x1'0000, data_bytes = 0x2'0000;
constexpr u64 flush_feature = 1u << 9;
enum Asked : u32 { in = 0, out = 1, flush = 4, identify = 8, discard = 11, zeroes = 13 };
constexpr u8 ok = 0, io_error = 1, unsupported = 2, unanswered = 0xff;

class BlockTest : public ::testing::Test {
 protected:
  explicit BlockTest(bool read_only = false, unsigned queues = 1)
      : device_({.storage = disk_, .id = "a disk of twenty-one.", .read_only = read_only, .queues = queues},
                {.dma = memory_, .send = [](const InterruptMessage&) {}, .broken = {}}) {
    driver_.begin(feature_version_1 | flush_feature);
  }
  /// Header, data that the device reads or writes, status: three descriptors. The answer.
  u8 ask(u32 type, u64 sector, u32 bytes = 0) {
    memory_.put<u32>(header_at, type);
    memory_.put<u64>(header_at + 8, sector);
    memory_.put<u8>(status_at, unanswered);
    const u16 way = type == in || type == identify ? device_writes : 0;
    driver_.describe(0,
                     {.address = header_at, .bytes = 16, .flags = more, .next = static_cast<u16>(bytes != 0 ? 1 : 2)});
    driver_.describe(1, {.address = data_at, .bytes = bytes, .flags = static_cast<u16>(way | more), .next = 2});
    driver_.describe(2, {.address = status_at, .bytes = 1, .flags = device_writes});
    driver_.offer(0);
    driver_.notify();
    return memory_.get<u8>(status_at);
  }
  u32 written() const { return driver_.used_bytes(static_cast<u16>(driver_.used() - 1)); }
  u8 clear(u32 type, u64 sector, u32 count, u32 flags = 0) {
    memory_.put<u64>(data_at, sector);
    memory_.put<u32>(data_at + 8, count);
    memory_.put<u32>(data_at + 12, flags);
    return ask(type, 0, 16);
  }
  std::span<u8> data(u64 bytes = data_bytes) { return memory_.bytes().subspan(data_at, bytes); }

  TestedMemory memory_{0x4'0000};
  std::shared_ptr<DiskInMemory> disk_ = std::make_shared<DiskInMemory>(sectors * 512 + 100);
  Block device_;
  Driver driver_{device_, memory_};
};

TEST_F(BlockTest, SaysWhatItIs) {  // 5.2.4
  EXPECT_EQ(device_.read_config(pci::reg_id, ~0u) >> 16, 0x1042u);
  EXPECT_EQ(driver_.get(device_at, 8), sectors) << "whole ones";
  EXPECT_EQ(driver_.get(device_at + 20, 4), 512u);
  EXPECT_EQ(driver_.get(device_at + 12, 4), 126u) << "with header and status as many as a queue has";
  EXPECT_EQ(driver_.get(device_at + 34, 2), 1u);
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0x6246u) << "SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, DISCARD, WRITE_ZEROES";
  EXPECT_EQ(ask(identify, 0, 20), ok);
  EXPECT_EQ(written(), 21u);
  EXPECT_EQ(std::string(data(20).begin(), data(20).end()), "a disk of twenty-one");
  EXPECT_EQ(ask(identify, 0, 19), io_error);
}

TEST_F(BlockTest, SectorsAreThoseOfItsDisk) {
  const auto disk = std::make_shared<DiskInMemory>(1 << 20);
  disk->block = 4096;
  Block device({.storage = disk, .id = "disk"}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  Driver driver(device, memory_);
  EXPECT_EQ(driver.get(device_at, 8), (1u << 20) / 512) << "it counts in 512 bytes nevertheless";
  EXPECT_EQ(driver.get(device_at + 20, 4), 4096u);
  EXPECT_EQ(driver.get(device_at + 44, 4), 8u) << "as discards are aligned";
}

TEST_F(BlockTest, ReadsAndWrites) {
  std::ranges::generate(data(), [n = u8{0}]() mutable { return n = static_cast<u8>(n * 5 + 1); });
  const std::vector<u8> pattern(data().begin(), data().end());
  EXPECT_EQ(ask(out, 7, data_bytes), ok);
  EXPECT_EQ(written(), 1u);
  EXPECT_TRUE(std::equal(pattern.begin(), pattern.end(), disk_->data.begin() + 7 * 512));
  std::ranges::fill(data(), u8{0});
  EXPECT_EQ(ask(in, 7, data_bytes), ok);
  EXPECT_EQ(written(), data_bytes + 1);
  EXPECT_TRUE(std::ranges::equal(data(), pattern));
  EXPECT_EQ(disk_->flushes, 0u);
  EXPECT_EQ(ask(flush, 0), ok);
  EXPECT_EQ(disk_->flushes, 1u);
}

TEST_F(BlockTest, CountsWhatItDoes) {
  ask(in, 0, 1024);
  ask(in, 0, 512);
  ask(out, 0, 512);
  ask(flush, 0);
  clear(discard, 0, 1);
  clear(zeroes, 0, 1);
  ask(identify, 0, 20);
  ask(in, sectors, 512);
  ask(~0u, 0);
  const BlockCounts& counts = device_.counts();
  EXPECT_EQ(counts.requests[BlockCounts::read], 3u);
  EXPECT_EQ(counts.requests[BlockCounts::write], 1u);
  EXPECT_EQ(counts.requests[BlockCounts::flush], 1u);
  EXPECT_EQ(counts.requests[BlockCounts::clear], 2u);
  EXPECT_EQ(counts.read_bytes, 1536u) << "not those of one that failed";
  EXPECT_EQ(counts.written_bytes, 512u);
  EXPECT_EQ(counts.errors, 1u);
  u64 all = 0;
  for (const auto& bucket : counts.latency) all += bucket;
  EXPECT_EQ(all, 7u) << "each in one";
  EXPECT_GT(counts.nanoseconds, 0u);
}

TEST_F(BlockTest, ADriverThatKnowsNoFlushHasItsWritesSafe) {  // 5.2.6.2
  driver_.begin(feature_version_1);
  EXPECT_EQ(ask(out, 0, 512), ok);
  EXPECT_EQ(disk_->flushes, 1u);
  EXPECT_EQ(clear(zeroes, 0, 1), ok);
  EXPECT_EQ(disk_->flushes, 2u);
}

TEST_F(BlockTest, RefusesWhatIsNotThere) {
  EXPECT_EQ(ask(in, sectors - 1, 512), ok);
  EXPECT_EQ(ask(in, sectors - 1, 1024), io_error);
  EXPECT_EQ(ask(in, sectors, 512), io_error);
  EXPECT_EQ(ask(out, ~u64{0}, 512), io_error);
  EXPECT_EQ(ask(out, u64{1} << 55, 512), io_error) << "whose bytes would wrap";
  EXPECT_EQ(ask(in, 0, 511), io_error);
  EXPECT_EQ(ask(2, 0, 512), unsupported);
  EXPECT_EQ(ask(~0u, 0), unsupported);
  disk_->works = false;
  for (u32 type : {in, out}) EXPECT_EQ(ask(type, 0, 512), io_error);
  EXPECT_EQ(ask(flush, 0), io_error);
  EXPECT_EQ(clear(discard, 0, 1), io_error);
  EXPECT_FALSE(driver_.is_broken());
}

TEST_F(BlockTest, DiscardsAndWritesZeroes) {
  std::ranges::fill(disk_->data, u8{0xff});
  EXPECT_EQ(clear(zeroes, 10, 4), ok);
  EXPECT_FALSE(disk_->unmapped);
  EXPECT_EQ(clear(zeroes, 20, 1, 1), ok);
  EXPECT_TRUE(disk_->unmapped);
  EXPECT_EQ(clear(discard, 30, 2), ok);
  EXPECT_EQ(disk_->data[10 * 512 - 1], 0xff);
  EXPECT_EQ(disk_->data[10 * 512], 0);
  EXPECT_EQ(disk_->data[14 * 512 - 1], 0);
  EXPECT_EQ(disk_->data[14 * 512], 0xff);
  EXPECT_EQ(disk_->data[32 * 512 - 1], 0xdd);
  EXPECT_EQ(disk_->data[32 * 512], 0xff);
  EXPECT_EQ(clear(discard, 0, 1, 1), unsupported);
  EXPECT_EQ(clear(zeroes, 0, 1, 2), unsupported);
  EXPECT_EQ(clear(zeroes, sectors, 1), io_error);
  EXPECT_EQ(clear(zeroes, ~u64{0}, 1), io_error);
  EXPECT_EQ(clear(discard, 0, ~0u), io_error);
  EXPECT_EQ(ask(discard, 0, 17), io_error);
  EXPECT_EQ(ask(discard, 0, 16 * 33), io_error);
  EXPECT_EQ(ask(discard, 0), io_error);
}

class ReadOnlyBlock : public BlockTest {
 protected:
  ReadOnlyBlock() : BlockTest(true, 4) {}
};

TEST_F(ReadOnlyBlock, ChangesNothing) {
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0x1266u) << "RO and MQ, but neither DISCARD nor WRITE_ZEROES";
  EXPECT_EQ(driver_.get(device_at + 34, 2), 4u);
  EXPECT_EQ(driver_.get(common_queues, 2), 4u);
  const auto before = disk_->data;
  EXPECT_EQ(ask(out, 0, 512), io_error);
  EXPECT_EQ(clear(zeroes, 0, 1), io_error);
  EXPECT_EQ(clear(discard, 0, 1), io_error);
  EXPECT_EQ(ask(in, 0, 512), ok);
  EXPECT_EQ(ask(flush, 0), ok);
  EXPECT_EQ(disk_->data, before);
  EXPECT_EQ(disk_->flushes, 0u);
}

TEST_F(BlockTest, RequestsThatAreNone) {
  driver_.describe(0, {.address = header_at, .bytes = 16});
  driver_.offer(0);
  driver_.notify();
  EXPECT_TRUE(driver_.is_broken()) << "no status";
  driver_.begin();
  driver_.describe(0, {.address = header_at, .bytes = 15, .flags = more, .next = 1});
  driver_.describe(1, {.address = status_at, .bytes = 1, .flags = device_writes});
  driver_.offer(0);
  driver_.notify();
  EXPECT_TRUE(driver_.is_broken()) << "no header";
  driver_.begin();
  memory_.put<u32>(header_at, in);
  driver_.describe(0, {.address = header_at, .bytes = 16, .flags = more, .next = 1});
  driver_.describe(1, {.address = 0x3'ff00, .bytes = 0x200, .flags = device_writes | more, .next = 2});
  driver_.describe(2, {.address = status_at, .bytes = 1, .flags = device_writes});
  driver_.offer(0);
  driver_.notify();
  EXPECT_TRUE(driver_.is_broken()) << "data beyond RAM";
  driver_.begin(feature_version_1 | flush_feature);
  EXPECT_EQ(ask(in, 0, 512), ok);
}

TEST_F(BlockTest, LargerThanTheDiskIsRefusedAtOnce) {
  driver_.describe(0, {.address = header_at, .bytes = 16, .flags = more, .next = 1});
  for (u16 i = 1; i < 6; ++i)
    driver_.describe(
        i, {.address = data_at, .bytes = ~0u << 9, .flags = device_writes | more, .next = static_cast<u16>(i + 1)});
  driver_.describe(6, {.address = status_at, .bytes = 1, .flags = device_writes});
  memory_.put<u32>(header_at, in);
  memory_.put<u8>(status_at, unanswered);
  driver_.offer(0);
  driver_.notify();
  EXPECT_EQ(memory_.get<u8>(status_at), io_error);
  EXPECT_EQ(written(), 1u);
}

/// A thousand requests of 512 bytes to 64 KiB at random, cut at random, against a model of the disk; with CLOISTER_FULL
/// ten thousand.
TEST_F(BlockTest, RandomRequestsDoWhatAModelDoes) {
  std::mt19937_64 random(1);
  std::vector<u8> model = disk_->data;
  const int requests = std::getenv("CLOISTER_FULL") != nullptr ? 10'000 : 1'000;
  for (int i = 0; i < requests; ++i) {
    const u64 r = random();
    const u64 count = 1 + (r >> 8 & 127), sector = (r >> 16) % (sectors + 8);
    const u32 bytes = static_cast<u32>(count * 512);
    const bool fits = sector + count <= sectors, store = (r & 1) != 0;
    if (store)
      std::ranges::generate(data(bytes), [x = r]() mutable { return static_cast<u8>((x = x * 25 + 7) >> 16); });
    memory_.put<u32>(header_at, store ? out : in);
    memory_.put<u64>(header_at + 8, sector);
    memory_.put<u8>(status_at, unanswered);
    const u16 way = store ? 0 : device_writes;
    const u32 first = static_cast<u32>(r >> 40 & 0xffff) % bytes,
              second = static_cast<u32>((bytes - first) / (1 + (r >> 4 & 3)));
    const u32 header_part = static_cast<u32>(r >> 56 & 15);
    driver_.describe(0, {.address = header_at, .bytes = header_part, .flags = more, .next = 5});
    driver_.describe(5, {.address = header_at + header_part, .bytes = 16 - header_part, .flags = more, .next = 1});
    const u16 flags = static_cast<u16>(way | more);
    driver_.describe(1, {.address = data_at, .bytes = first, .flags = flags, .next = 2});
    driver_.describe(2, {.address = data_at + first, .bytes = second, .flags = flags, .next = 3});
    driver_.describe(3,
                     {.address = data_at + first + second, .bytes = bytes - first - second, .flags = flags, .next = 4});
    driver_.describe(4, {.address = status_at, .bytes = 1, .flags = device_writes});
    driver_.offer(0);
    driver_.notify();
    ASSERT_FALSE(driver_.is_broken());
    ASSERT_EQ(memory_.get<u8>(status_at), fits ? ok : io_error);
    if (!fits) continue;
    const auto place = std::span(model).subspan(sector * 512, bytes);
    if (store) std::ranges::copy(data(bytes), place.begin());
    ASSERT_TRUE(std::ranges::equal(data(bytes), place)) << i;
  }
  EXPECT_EQ(disk_->data, model);
}

}  // namespace
}  // namespace cloister::platform::virtio
