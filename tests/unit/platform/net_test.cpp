// A virtio network interface (virtio 1.2, 5.1), frame by frame, with a wire of the test's.
#include "platform/virtio/net.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "unit/platform/virtio_ring.hpp"
#include "unit/platform/wire_in_memory.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 merge_buffers = u64{1} << 15;
constexpr u64 header_bytes = 12, buffers_at = 0x1'0000, buffer_bytes = 0x1000;
constexpr u16 ring_size = Ring::size;

class NetTest : public ::testing::Test {
 protected:
  NetTest() { begin(merge_buffers); }
  void begin(u64 features) {
    ASSERT_TRUE(driver_.negotiate(features | feature_version_1));
    in_.begin();
    out_.begin();
    driver_.set(common_status, driver_.status() | status_driver_ok, 1);
  }
  static WireInMemory::Frame frame(std::size_t bytes, u8 first = 1) {
    WireInMemory::Frame frame(bytes);
    std::ranges::generate(frame, [n = first]() mutable { return static_cast<std::byte>(n++); });
    return frame;
  }
  static u64 buffer(u16 number) { return buffers_at + buffer_bytes * number; }
  void give(u16 number, u32 bytes) {
    in_.describe(number, {.address = buffer(number), .bytes = bytes, .flags = device_writes});
    in_.offer(number);
  }
  void come(WireInMemory::Frame one) {
    wire_->come.push_back(std::move(one));
    if (device_.has_work()) device_.work();
  }
  WireInMemory::Frame at(u64 address, std::size_t bytes) {
    const auto from = std::as_bytes(memory_.bytes().subspan(address, bytes));
    return {from.begin(), from.end()};
  }
  u16 merged(u16 number) const { return memory_.get<u16>(buffer(number) + 10); }
  /// A frame behind a header, in two descriptors.
  void send(const WireInMemory::Frame& frame, u8 flags = 0, u8 gso = 0) {
    send(frame, FrameHeader{.flags = flags, .gso_type = gso});
  }
  void send(const WireInMemory::Frame& frame, const FrameHeader& left) {
    const u64 header = buffer(8), data = buffer(9);
    memory_.put<FrameHeader>(header, left);
    memory_.put<u16>(header + sizeof left, 0);
    std::ranges::copy(frame, std::as_writable_bytes(memory_.bytes().subspan(data, frame.size())).begin());
    out_.describe(0, {.address = header, .bytes = header_bytes, .flags = more, .next = 1});
    out_.describe(1, {.address = data, .bytes = static_cast<u32>(frame.size())});
    out_.offer(0);
    out_.notify();
  }

  TestedMemory memory_{0x4'0000};
  std::shared_ptr<WireInMemory> wire_ = std::make_shared<WireInMemory>();
  std::vector<unsigned> sent_;
  std::string broken_;
  Net device_{{.wire = wire_, .mac = {0x52, 1, 2, 3, 4, 5}},
              {.dma = memory_,
               .send = [this](const InterruptMessage& message) { sent_.push_back(message.vector); },
               .broken = [this](std::string_view why) { broken_ = why; }}};
  Driver driver_{device_, memory_};
  Ring in_{driver_, memory_, Net::receive_queue}, out_{driver_, memory_, Net::transmit_queue};
};

TEST_F(NetTest, SaysWhatItIs) {  // 5.1.2 to 5.1.4
  EXPECT_EQ(device_.read_config(pci::reg_id, ~0u) >> 16, 0x1041u);
  EXPECT_EQ(device_.read_config(pci::reg_class, ~0u) >> 8, 0x02'0000u);
  EXPECT_EQ(driver_.get(common_queues, 2), 2u);
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0x1'8020u) << "MAC, MRG_RXBUF, STATUS: its wire has no offloads";
  EXPECT_EQ(driver_.get(device_at, 4), 0x0302'0152u);
  EXPECT_EQ(driver_.get(device_at + 4, 2), 0x0504u);
  EXPECT_EQ(driver_.get(device_at + 6, 2), 1u) << "the link is up";
}

TEST_F(NetTest, AFrameComesIn) {
  give(0, 2048);
  in_.notify();
  EXPECT_EQ(in_.used(), 0);
  EXPECT_TRUE(device_.wants_frames());
  come(frame(100));
  ASSERT_EQ(in_.used(), 1);
  EXPECT_EQ(in_.used_bytes(0), header_bytes + 100);
  EXPECT_EQ(at(buffer(0) + header_bytes, 100), frame(100));
  EXPECT_EQ(at(buffer(0), 10), WireInMemory::Frame(10)) << "neither checksum nor segments";
  EXPECT_EQ(merged(0), 1);
  EXPECT_EQ(device_.counts().received_frames, 1u);
  EXPECT_EQ(device_.counts().received_bytes, 100u);
}

TEST_F(NetTest, ALongOneIsMerged) {  // 5.1.6.4
  for (u16 i = 0; i < 3; ++i) give(i, 500);
  in_.notify();
  come(frame(1200));
  ASSERT_EQ(in_.used(), 3) << "all of them at once";
  EXPECT_EQ(merged(0), 3);
  EXPECT_EQ(in_.used_bytes(0), 500u);
  EXPECT_EQ(in_.used_bytes(1), 500u);
  EXPECT_EQ(in_.used_bytes(2), 212u);
  auto all = at(buffer(0) + header_bytes, 488);
  for (const auto& [from, bytes] : {std::pair{buffer(1), 500}, std::pair{buffer(2), 212}}) {
    const auto more_of_it = at(from, static_cast<std::size_t>(bytes));
    all.insert(all.end(), more_of_it.begin(), more_of_it.end());
  }
  EXPECT_EQ(all, frame(1200));
}

TEST_F(NetTest, WhatFindsTooFewBuffersWaitsForMore) {
  give(0, 500);
  in_.notify();
  come(frame(1000));
  EXPECT_EQ(in_.used(), 0);
  EXPECT_FALSE(device_.has_work()) << "nobody turns round and round";
  EXPECT_FALSE(device_.wants_frames());
  give(1, 300);
  in_.notify();
  EXPECT_EQ(in_.used(), 0);
  give(2, 300);
  in_.notify();
  EXPECT_EQ(in_.used(), 3);
  EXPECT_EQ(merged(0), 3);
  EXPECT_TRUE(wire_->come.empty());
}

TEST_F(NetTest, WithoutBuffersNothingIsTaken) {
  come(frame(60));
  EXPECT_EQ(wire_->come.size(), 1u);
  EXPECT_FALSE(device_.wants_frames());
  give(0, 100);
  in_.notify();
  EXPECT_EQ(in_.used(), 1);
}

TEST_F(NetTest, WhatNoRingHoldsIsDropped) {
  for (u16 i = 0; i < ring_size; ++i) give(i, 100);
  in_.notify();
  come(frame(2000));
  EXPECT_EQ(in_.used(), 0);
  EXPECT_TRUE(wire_->come.empty());
  EXPECT_EQ(device_.counts().received_drops, 1u);
  come(frame(60));
  EXPECT_EQ(in_.used(), 1) << "its buffers are there for the next";
  EXPECT_EQ(in_.used_id(0), 0u);
}

TEST_F(NetTest, ADriverThatMergesNothingGetsOneBufferAFrame) {
  begin(0);
  for (u16 i = 0; i < 3; ++i) give(i, 512);
  in_.notify();
  come(frame(501));
  EXPECT_EQ(in_.used(), 0);
  EXPECT_EQ(device_.counts().received_drops, 1u);
  come(frame(500));
  EXPECT_EQ(in_.used(), 1);
  EXPECT_EQ(merged(0), 1);
}

TEST_F(NetTest, AFrameGoesOut) {
  send(frame(64, 7));
  ASSERT_EQ(wire_->gone.size(), 1u);
  EXPECT_EQ(wire_->gone[0], frame(64, 7));
  EXPECT_EQ(wire_->flushes, 1u);
  EXPECT_EQ(out_.used(), 1);
  EXPECT_EQ(out_.used_bytes(0), 0u);
  EXPECT_EQ(device_.counts().sent_bytes, 64u);
}

TEST_F(NetTest, WhatIsNoFrameGoesNowhere) {
  send(frame(13));
  send(frame(64), 1);
  send(frame(64), 0, 1);
  wire_->takes = false;
  send(frame(64));
  EXPECT_TRUE(wire_->gone.empty());
  EXPECT_EQ(out_.used(), 4) << "the driver has its buffers back";
  EXPECT_EQ(device_.counts().sent_drops, 4u);
  EXPECT_FALSE(driver_.is_broken());
  // Longer than any frame, in parts of the same memory.
  out_.describe(0, {.address = buffer(8), .bytes = header_bytes, .flags = more, .next = 1});
  for (u16 i = 1; i < 7; ++i)
    out_.describe(i, {.address = buffer(0),
                      .bytes = 0x3000,
                      .flags = static_cast<u16>(i == 6 ? 0 : more),
                      .next = static_cast<u16>(i + 1)});
  memory_.put<u64>(buffer(8), 0);
  out_.offer(0);
  out_.notify();
  EXPECT_EQ(device_.counts().sent_drops, 5u);
}

constexpr FrameHeader unsummed{.flags = header_needs_checksum, .checksum_start = 34, .checksum_offset = 6},
    uncut{.flags = header_needs_checksum,
          .gso_type = gso_tcp4,
          .header_bytes = 54,
          .gso_size = 1000,
          .checksum_start = 34,
          .checksum_offset = 16};

class NetWithOffloads : public NetTest {
 protected:
  NetWithOffloads() { wire_->offered = all_offloads; }
};

TEST_F(NetWithOffloads, TheWireHearsWhatTheDriverTakes) {
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0x1'8020u | all_offloads);
  begin(feature_checksum | feature_guest_checksum | feature_guest_tso6);
  EXPECT_EQ(wire_->taken, feature_checksum | feature_guest_checksum | feature_guest_tso6);
  const auto state = device_.state();
  driver_.set(common_status, 0, 1);
  EXPECT_EQ(wire_->taken, 0u);
  ASSERT_TRUE(device_.set_state(state));
  EXPECT_EQ(wire_->taken, feature_checksum | feature_guest_checksum | feature_guest_tso6) << "also of who goes on";
  wire_->offered = 0;
  EXPECT_FALSE(device_.set_state(state)) << "it cannot go on with a wire that cannot do that";
}

TEST_F(NetWithOffloads, WhatWasNegotiatedIsLeftToTheWire) {
  begin(feature_checksum);
  send(frame(64), unsummed);
  send(frame(64), FrameHeader{.flags = 0x7e, .header_bytes = 1, .gso_size = 2, .checksum_start = 3});
  send(frame(64), uncut);
  EXPECT_EQ(wire_->left_to_it, (std::vector<FrameHeader>{unsummed, {}})) << "what says nothing is no matter";
  EXPECT_EQ(device_.counts().sent_drops, 1u);
  begin(feature_checksum | feature_host_tso4);
  wire_->left_to_it.clear();
  auto six = uncut, unsized = uncut, ecn = uncut, whole = uncut, alone = unsummed;
  six.gso_type = gso_tcp6;
  unsized.gso_size = 0;
  ecn.gso_type |= gso_ecn;
  whole.flags = 0;
  alone.gso_type = gso_ecn;
  for (const FrameHeader& one : {six, unsized, ecn, whole, alone, uncut}) send(frame(64), one);
  EXPECT_EQ(wire_->left_to_it, std::vector<FrameHeader>{uncut});
  begin(feature_checksum | feature_host_tso4 | feature_host_ecn | feature_host_tso6);
  for (const FrameHeader& one : {six, ecn}) send(frame(64), one);
  EXPECT_EQ(wire_->left_to_it, (std::vector<FrameHeader>{uncut, six, ecn}));
  EXPECT_EQ(out_.used(), 2) << "the driver has its buffers back";
}

TEST_F(NetWithOffloads, WhatTheDriverTakesIsLeftToIt) {
  const auto comes = [this](const FrameHeader& left) {
    give(0, 2048);
    in_.notify();
    wire_->left = left;
    come(frame(100));
    return memory_.get<FrameHeader>(buffer(0));
  };
  begin(feature_guest_checksum | merge_buffers);
  EXPECT_EQ(comes(unsummed), unsummed);
  EXPECT_EQ(comes({.flags = header_checksum_is_right}), FrameHeader{.flags = header_checksum_is_right});
  EXPECT_EQ(merged(0), 1);
  const u64 drops = device_.counts().received_drops;
  comes(uncut);
  EXPECT_EQ(device_.counts().received_drops, drops + 1) << "one from before it was reset";
  begin(0);
  EXPECT_EQ(comes({.flags = header_checksum_is_right}), FrameHeader{});
  EXPECT_EQ(in_.used(), 1);
  comes(unsummed);
  EXPECT_EQ(in_.used(), 1);
  begin(feature_guest_checksum | feature_guest_tso4);
  EXPECT_EQ(comes(uncut), uncut);
}

TEST_F(NetTest, WhatFindsNoRoomWaits) {
  wire_->room = 2;
  for (int i = 0; i < 3; ++i) send(frame(64));
  EXPECT_EQ(wire_->gone.size(), 2u);
  EXPECT_FALSE(device_.has_work());
  wire_->room = 1;
  ASSERT_TRUE(device_.has_work());
  device_.work();
  EXPECT_EQ(wire_->gone.size(), 3u);
  EXPECT_EQ(out_.used(), 3);
}

// The driver goes on while frames are copied and go out, and what it notifies then is not forgotten.
TEST_F(NetTest, ANotificationIsNotLostMeanwhile) {
  Net device({.wire = wire_, .mac = {}},
             {.dma = memory_, .send = [](const InterruptMessage&) {}, .broken = {}, .later = [] {}});
  Driver driver(device, memory_);
  Ring out(driver, memory_, Net::transmit_queue);
  ASSERT_TRUE(driver.negotiate(feature_version_1 | feature_event_index));
  out.begin();
  driver.set(common_status, driver.status() | status_driver_ok, 1);
  const auto send_one = [&] {
    memory_.put<u64>(buffer(8), 0);
    memory_.put<u32>(buffer(8) + 8, 0);
    out.describe(0, {.address = buffer(8), .bytes = header_bytes + 60});
    out.offer(0);
    out.notify();
  };
  for (const bool while_flushed : {true, false}) {
    wire_->gone.clear();
    bool again = true;
    const auto meanwhile = [&] {
      if (std::exchange(again, false)) send_one();
    };
    wire_->flushed = while_flushed ? std::function<void()>(meanwhile) : nullptr;
    wire_->answer = [&](const WireInMemory::Frame&) {
      if (!while_flushed) meanwhile();
    };
    send_one();
    for (int i = 0; i < 10 && device.has_work(); ++i) device.work();
    EXPECT_EQ(wire_->gone.size(), 2u) << while_flushed;
    EXPECT_FALSE(device.has_work());
  }
}

TEST_F(NetTest, TheDriverHearsOfTheLink) {  // 5.1.4.2, 2.5.3
  device_.write_memory(msix_bar, 0, 0xfee0'0000, 8);
  device_.write_memory(msix_bar, 8, 0x55, 8);
  const u16 msix = static_cast<u16>(device_.read_config(pci::reg_capabilities, 0xff));
  ASSERT_EQ(device_.read_config(msix, 0xff), u32{pci::Msix::capability_id});
  device_.write_config(msix, u32{pci::Msix::control_enable} << 16, 0xffff'0000);
  driver_.set(common_config_vector, 0, 2);
  EXPECT_FALSE(device_.look_at_wire());
  const u64 before = driver_.get(common_generation, 1);
  wire_->is_up = false;
  EXPECT_TRUE(device_.look_at_wire());
  EXPECT_FALSE(device_.look_at_wire());
  EXPECT_EQ(sent_, std::vector<unsigned>{0x55});
  EXPECT_NE(driver_.get(common_generation, 1), before);
  EXPECT_EQ(driver_.get(device_at + 6, 2), 0u);
  const Net again({.wire = wire_, .mac = {}}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  EXPECT_FALSE(again.up()) << "one that starts with such a wire";
}

TEST_F(NetTest, AHostileDriverBreaksItAlone) {
  const auto expect_broken = [this](const char* what) {
    EXPECT_TRUE(driver_.is_broken()) << what;
    EXPECT_FALSE(broken_.empty()) << what;
    EXPECT_FALSE(device_.has_work()) << what;
    EXPECT_FALSE(device_.wants_frames()) << what;
    broken_.clear();
    wire_->come.clear();
    begin(merge_buffers);
    give(0, 2048);
    in_.notify();
    come(frame(60));
    EXPECT_EQ(in_.used(), 1) << "a reset mends it: " << what;
    send(frame(60));
    EXPECT_EQ(out_.used(), 1) << what;
    begin(merge_buffers);
  };
  give(0, header_bytes - 1);
  in_.notify();
  come(frame(60));
  expect_broken("no room for a header");
  in_.describe(0, {.address = buffer(0), .bytes = 100});
  in_.offer(0);
  in_.notify();
  come(frame(60));
  expect_broken("a buffer that is read");
  give(0, 20);
  in_.describe(1, {.address = buffer(0), .bytes = 100});
  in_.offer(1);
  in_.notify();
  come(frame(60));
  expect_broken("a second one that is read");
  in_.describe(0, {.address = 0x3'ffff, .bytes = 100, .flags = device_writes});
  in_.offer(0);
  in_.notify();
  come(frame(60));
  expect_broken("memory that is not there");
  in_.describe(0, {.address = buffer(0), .bytes = 16, .flags = device_writes | more, .next = 0});
  in_.offer(0);
  in_.notify();
  come(frame(60));
  expect_broken("a loop");
  in_.jump(0x8000);
  in_.notify();
  come(frame(60));
  expect_broken("an index that jumps");
  out_.describe(0, {.address = buffer(8), .bytes = header_bytes - 1});
  out_.offer(0);
  out_.notify();
  expect_broken("no header");
  out_.describe(0, {.address = 0x3'fff8, .bytes = 100});
  out_.offer(0);
  out_.notify();
  expect_broken("a header that is not there");
  memory_.put<u64>(buffer(8), 0);
  out_.describe(0, {.address = buffer(8), .bytes = header_bytes, .flags = more, .next = 1});
  out_.describe(1, {.address = u64{1} << 50, .bytes = 100});
  out_.offer(0);
  out_.notify();
  expect_broken("a frame that is not there");
}

TEST_F(NetTest, GoesOnWhereAnotherOneWas) {
  give(0, 2048);
  in_.notify();
  wire_->is_up = false;
  device_.look_at_wire();
  const auto state = device_.state();
  const auto fresh = std::make_shared<WireInMemory>();
  Net other({.wire = fresh, .mac = {9, 9, 9, 9, 9, 9}}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  ASSERT_TRUE(other.set_state(state));
  EXPECT_EQ(other.state(), state) << "and has the address that its guest knows";
  EXPECT_TRUE(other.look_at_wire()) << "its own wire is up";
  fresh->come.push_back(frame(60));
  ASSERT_TRUE(other.has_work());
  other.work();
  EXPECT_EQ(in_.used(), 1);
  auto wrong = state;
  wrong.device.queues.pop_back();
  EXPECT_FALSE(other.set_state(wrong));
}

/// Frames of any length into buffers of any length, and what the driver writes at random into its rings now and then:
/// every frame is whole, or the device is broken and a reset away from working.
TEST_F(NetTest, RandomRings) {
  std::mt19937_64 random(1);
  u64 delivered = 0, breaks = 0;
  for (int round = 0; round < 3000; ++round) {
    if (driver_.is_broken()) {
      ++breaks;
      wire_->come.clear();
      begin(random() % 2 == 0 ? merge_buffers : 0);
    }
    const u16 before = in_.used();
    for (u16 i = 0; i < ring_size; ++i) {
      in_.describe(i, {.address = buffer(i), .bytes = 12 + static_cast<u32>(random() % 1500), .flags = device_writes});
      if (random() % 2 == 0) in_.offer(i);
    }
    if (random() % 8 == 0) memory_.bytes()[0x4000 + random() % 0x3000] = static_cast<u8>(random());
    in_.notify();
    come(frame(14 + random() % 3000, static_cast<u8>(round)));
    if (random() % 4 == 0) send(frame(random() % 1600));
    if (random() % 64 == 0) begin(merge_buffers);
    delivered += in_.used() != before;
    wire_->gone.clear();
  }
  EXPECT_GT(delivered, 100u);
  EXPECT_GT(breaks, 10u);
}

}  // namespace
}  // namespace cloister::platform::virtio
