// Repeated string instructions over more than a page: what the fast path by pages must not be seen to do (SDM vol. 2B,
// REP; vol. 1, 7.3.9).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "silicon/engine/stepper.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 base = 0x2000'0000;
constexpr u64 code = base, data = base + arch::page_size, pages = 64, size = pages * arch::page_size;

class StringTest : public testing::Test {
 protected:
  StringTest() : memory_(size), stepper_(base, memory_) {
    for (u64 i = 0; i < size; ++i) memory_[i] = static_cast<u8>(i * 167 + i / 256);
  }

  Cpu& cpu() { return stepper_.cpu(); }
  u8* at(u64 address) { return memory_.data() + (address - base); }

  /// Executes the instruction, however often it lets interrupts in between, to its end or its fault.
  Stepper::Result run(std::initializer_list<u8> bytes) {
    std::copy(bytes.begin(), bytes.end(), at(code));
    stepper_.set_rip(code);
    Stepper::Result r;
    do {
      r = stepper_.step();
      ++entries_;
    } while (!r.fault && cpu().rip == code && entries_ < 1000);
    return r;
  }
  void set(u64 rcx, u64 rsi, u64 rdi) {
    cpu().gpr[arch::rcx] = rcx;
    cpu().gpr[arch::rsi] = rsi;
    cpu().gpr[arch::rdi] = rdi;
  }
  void expect(u64 rcx, u64 rsi, u64 rdi) {
    EXPECT_EQ(cpu().gpr[arch::rcx], rcx);
    EXPECT_EQ(cpu().gpr[arch::rsi], rsi);
    EXPECT_EQ(cpu().gpr[arch::rdi], rdi);
  }

  std::vector<u8> memory_;
  Stepper stepper_;
  unsigned entries_ = 0;
};

TEST_F(StringTest, CopiesElementsThatCrossPages) {
  constexpr u64 count = 3000, from = data + 3, to = data + 30 * arch::page_size + 5;
  const std::vector<u8> source(at(from), at(from) + 8 * count);
  set(count, from, to);
  EXPECT_FALSE(run({0xf3, 0x48, 0xa5}).fault);  // rep movsq
  EXPECT_TRUE(std::equal(source.begin(), source.end(), at(to)));
  expect(0, from + 8 * count, to + 8 * count);
}

TEST_F(StringTest, LetsInterruptsInBetween) {
  constexpr u64 bytes = 60 * arch::page_size;
  set(bytes, 0, data);
  cpu().gpr[arch::rax] = 0xa5;
  EXPECT_FALSE(run({0xf3, 0xaa}).fault);  // rep stosb
  EXPECT_GT(entries_, 1u);
  EXPECT_EQ(std::count(at(data), at(data) + bytes, 0xa5), static_cast<std::ptrdiff_t>(bytes));
  EXPECT_NE(*at(data + bytes), 0xa5);
  expect(0, 0, data + bytes);
}

/// The destination a little above the source: each byte copied is read again, the classic fill.
TEST_F(StringTest, OverlapUpwardsRepeatsThePattern) {
  for (const u64 distance : {1, 3, 8, 4099}) {
    constexpr u64 count = 9000;
    std::vector<u8> expected(at(data), at(data) + distance + count);
    for (u64 i = 0; i < count; ++i) expected[i + distance] = expected[i];
    set(count, data, data + distance);
    entries_ = 0;
    EXPECT_FALSE(run({0xf3, 0xa4}).fault);  // rep movsb
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), at(data))) << "distance " << distance;
  }
}

/// Elements wider than the distance read bytes that the element before wrote.
TEST_F(StringTest, OverlapNarrowerThanAnElement) {
  constexpr u64 count = 700, distance = 3;
  std::vector<u8> expected(at(data), at(data) + distance + 8 * count);
  for (u64 i = 0; i < count; ++i) {
    std::array<u8, 8> element;
    std::copy_n(expected.begin() + static_cast<std::ptrdiff_t>(8 * i), 8, element.begin());
    std::copy_n(element.begin(), 8, expected.begin() + static_cast<std::ptrdiff_t>(8 * i + distance));
  }
  set(count, data, data + distance);
  EXPECT_FALSE(run({0xf3, 0x48, 0xa5}).fault);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), at(data)));
}

TEST_F(StringTest, BackwardsWithDirectionSet) {
  constexpr u64 count = 5000, from = data + 6000, to = data + 6001;
  const std::vector<u8> source(at(from - count + 1), at(from + 1));
  cpu().df = true;
  set(count, from, to);
  EXPECT_FALSE(run({0xf3, 0xa4}).fault);
  EXPECT_TRUE(std::equal(source.begin(), source.end(), at(to - count + 1)));
  expect(0, from - count, to - count);
}

TEST_F(StringTest, FaultLeavesTheRegistersAtItsElement) {
  constexpr u64 room = 2 * arch::page_size + 10, to = base + size - room;
  set(100'000, data, to);
  const auto result = run({0xf3, 0xa4});
  ASSERT_TRUE(result.fault);
  EXPECT_EQ(result.fault->vector, arch::vector::pf);
  EXPECT_EQ(result.fault_address, base + size);
  EXPECT_EQ(cpu().rip, code);
  expect(100'000 - room, data + room, base + size);
}

TEST_F(StringTest, RepneScanStopsBehindTheMatch) {
  constexpr u64 distance = 7000;
  std::fill(at(data), at(data) + 10'000, u8{1});
  *at(data + distance) = 0;
  cpu().gpr[arch::rax] = 0;
  set(~u64{0}, 0, data);
  EXPECT_FALSE(run({0xf2, 0xae}).fault);  // repne scasb
  EXPECT_TRUE(cpu().flags.zf());
  expect(~u64{0} - (distance + 1), 0, data + distance + 1);
}

TEST_F(StringTest, RepeCompareStopsBehindTheDifference) {
  constexpr u64 other = data + 10 * arch::page_size, equal = 5000;
  std::copy_n(at(data), 8000, at(other));
  *at(data + equal) = 1;
  *at(other + equal) = 2;
  set(8000, data, other);
  EXPECT_FALSE(run({0xf3, 0xa6}).fault);  // repe cmpsb
  EXPECT_FALSE(cpu().flags.zf());
  EXPECT_TRUE(cpu().flags.cf()) << "1 is below 2";
  expect(8000 - (equal + 1), data + equal + 1, other + equal + 1);
}

TEST_F(StringTest, CountZeroTouchesNothing) {
  const std::vector<u8> before = memory_;
  set(0, 0, 0);
  EXPECT_FALSE(run({0xf3, 0xa4}).fault);
  expect(0, 0, 0);
  EXPECT_TRUE(std::equal(before.begin() + 16, before.end(), memory_.begin() + 16));
}

}  // namespace
}  // namespace cloister::silicon
