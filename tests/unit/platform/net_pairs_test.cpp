// A virtio network interface of several queues (virtio 1.2, 5.1.2, 5.1.6.5.5), with a wire of the test's.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "platform/virtio/net.hpp"
#include "unit/platform/virtio_ring.hpp"
#include "unit/platform/wire_in_memory.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 feature_control = u64{1} << 17, feature_pairs = u64{1} << 22;
constexpr unsigned lanes = 4, control_number = 2 * lanes;
constexpr u64 header_bytes = 12, buffers_at = 0x4'0000, buffer_bytes = 0x1000;
constexpr u8 answer_ok = 0, answer_error = 1, answer_none = 0xff;

class NetPairs : public ::testing::Test {
 protected:
  NetPairs() {
    for (u16 number = 0; number <= control_number; ++number) rings_.emplace_back(driver_, memory_, number);
    begin(feature_control | feature_pairs);
  }
  void begin(u64 features) {
    ASSERT_TRUE(driver_.negotiate(features | feature_version_1));
    for (Ring& ring : rings_) ring.begin();
    driver_.set(common_status, driver_.status() | status_driver_ok, 1);
  }
  static u64 buffer(unsigned number) { return buffers_at + buffer_bytes * number; }
  Ring& receive(unsigned pair) { return rings_[2 * pair]; }
  Ring& transmit(unsigned pair) { return rings_[2 * pair + 1]; }
  /// Room for as many frames as a ring has descriptors, in a pair's queue.
  void give(unsigned pair) {
    for (u16 i = 0; i < Ring::size; ++i) {
      receive(pair).describe(i,
                             {.address = buffer(pair * Ring::size + i), .bytes = buffer_bytes, .flags = device_writes});
      receive(pair).offer(i);
    }
    receive(pair).notify();
  }
  void come(unsigned lane, u8 first) {
    wire_->lane(lane).push_back(WireInMemory::Frame(60, std::byte{first}));
    if (device_.has_work()) device_.work();
  }
  /// The first byte of the frame that came to a pair's queue as its n-th.
  u8 came(unsigned pair, unsigned n) const { return memory_.get<u8>(buffer(pair * Ring::size + n) + header_bytes); }
  /// What the device answers; the command in as many bytes.
  u8 command(u8 of, u8 what, std::optional<u16> argument, unsigned ring = control_number) {
    const u64 at = buffer(40), answer = buffer(41);
    memory_.put<u8>(at, of);
    memory_.put<u8>(at + 1, what);
    if (argument) memory_.put<u16>(at + 2, *argument);
    memory_.put<u8>(answer, answer_none);
    rings_[ring].describe(0, {.address = at, .bytes = argument ? 4u : 2u, .flags = more, .next = 1});
    rings_[ring].describe(1, {.address = answer, .bytes = 1, .flags = device_writes});
    rings_[ring].offer(0);
    rings_[ring].notify();
    return memory_.get<u8>(answer);
  }
  u8 use(u16 pairs) { return command(4, 0, pairs); }

  TestedMemory memory_{0x8'0000};
  std::shared_ptr<WireInMemory> wire_ = std::make_shared<WireInMemory>(lanes);
  Net device_{{.wire = wire_, .mac = {}}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}}};
  Driver driver_{device_, memory_};
  std::deque<Ring> rings_;
};

TEST_F(NetPairs, SaysHowManyThereAre) {  // 5.1.3, 5.1.4
  EXPECT_EQ(driver_.get(common_queues, 2), 9u);
  EXPECT_EQ(driver_.offered() & (feature_control | feature_pairs), feature_control | feature_pairs);
  EXPECT_EQ(driver_.get(device_at + 8, 2), lanes);
}

TEST_F(NetPairs, FramesComeToThePairOfTheirLane) {
  EXPECT_EQ(device_.pairs(), 1u) << "until the driver says otherwise (5.1.6.5.5.1)";
  EXPECT_EQ(use(lanes), answer_ok);
  for (unsigned pair = 0; pair < lanes; ++pair) give(pair);
  EXPECT_EQ(device_.wants_frames(), 0b1111u);
  for (u8 lane = 0; lane < lanes; ++lane) come(lane, static_cast<u8>(10 + lane));
  for (u8 pair = 0; pair < lanes; ++pair) {
    ASSERT_EQ(receive(pair).used(), 1);
    EXPECT_EQ(came(pair, 0), 10 + pair);
  }
}

TEST_F(NetPairs, WithFewerPairsNoLaneIsLost) {
  give(0);
  for (u8 lane = 0; lane < lanes; ++lane) come(lane, lane);
  EXPECT_EQ(receive(0).used(), 4) << "of all lanes";
  EXPECT_EQ(use(3), answer_ok);
  give(1);
  come(3, 33);
  come(1, 11);
  EXPECT_EQ(came(0, 4), 33) << "the fourth lane's go where the first one's do";
  EXPECT_EQ(came(1, 0), 11);
  EXPECT_EQ(device_.wants_frames(), 0b1011u) << "the third pair has no buffers";
}

/// A lane that never ends does not keep the others from coming.
TEST_F(NetPairs, LanesTakeTurns) {
  for (u8 lane = 0; lane < 2; ++lane)
    for (u8 i = 0; i < 6; ++i) wire_->lane(lane).push_back(WireInMemory::Frame(60, std::byte{lane}));
  give(0);
  ASSERT_EQ(receive(0).used(), Ring::size);
  EXPECT_EQ(wire_->lane(0).size(), 2u);
  EXPECT_EQ(wire_->lane(1).size(), 2u);
}

TEST_F(NetPairs, FramesGoOutByTheLaneOfTheirPair) {
  for (const unsigned pair : {3u, 0u, 2u}) {
    transmit(pair).describe(0, {.address = buffer(40), .bytes = header_bytes + 60});
    transmit(pair).offer(0);
    transmit(pair).notify();
  }
  EXPECT_EQ(wire_->by_lane, (std::vector<unsigned>{3, 0, 2}));
}

TEST_F(NetPairs, WhatCannotBeIsRefused) {
  EXPECT_EQ(use(0), answer_error);
  EXPECT_EQ(use(5), answer_error);
  EXPECT_EQ(use(0xffff), answer_error);
  EXPECT_EQ(command(4, 0, std::nullopt), answer_error) << "without a number";
  EXPECT_EQ(command(4, 1, 2), answer_error) << "RSS, which was not negotiated";
  EXPECT_EQ(command(1, 0, 2), answer_error) << "a class that there is not";
  EXPECT_EQ(device_.pairs(), 1u);
  EXPECT_EQ(use(2), answer_ok);
  EXPECT_EQ(device_.pairs(), 2u);
  driver_.set(common_status, 0, 1);
  EXPECT_EQ(device_.pairs(), 1u) << "after a reset";
}

TEST_F(NetPairs, ACommandWithoutAnAnswerBreaksIt) {
  rings_[control_number].describe(0, {.address = buffer(40), .bytes = 4});
  rings_[control_number].offer(0);
  rings_[control_number].notify();
  EXPECT_TRUE(driver_.is_broken());
  begin(feature_control | feature_pairs);
  EXPECT_EQ(use(2), answer_ok);
}

TEST_F(NetPairs, TheControlQueueIsWhereWhatWasNegotiatedHasIt) {  // 5.1.2
  begin(feature_control);
  EXPECT_EQ(command(4, 0, 2, 2), answer_error) << "which needs VIRTIO_NET_F_MQ";
  begin(0);
  give(0);
  come(2, 7);
  EXPECT_EQ(came(0, 0), 7) << "a driver that knows of one pair gets all";
}

TEST_F(NetPairs, OfASavedOneTheDriversChoiceIsKept) {
  ASSERT_EQ(use(2), answer_ok);
  Net other({.wire = wire_, .mac = {}}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  EXPECT_FALSE(other.set_pairs(2)) << "whose driver has not negotiated it";
  ASSERT_TRUE(other.set_state(device_.state()));
  EXPECT_FALSE(other.set_pairs(0));
  EXPECT_FALSE(other.set_pairs(lanes + 1));
  EXPECT_TRUE(other.set_pairs(2));
  Net less({.wire = std::make_shared<WireInMemory>(2), .mac = {}},
           {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  EXPECT_FALSE(less.set_state(device_.state())) << "which has other queues";
}

}  // namespace
}  // namespace cloister::platform::virtio
