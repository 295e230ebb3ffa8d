// A virtio source of random bytes (virtio 1.2, 5.4), buffer by buffer.
#include "platform/virtio/rng.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "unit/platform/virtio_driver.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 buffer = 0x1'0000;
constexpr u8 unused = 0xee;

class RngTest : public ::testing::Test {
 protected:
  RngTest() { start(counting()); }
  /// The bytes 1, 2, 3 and so on.
  Rng::Source counting() {
    return [this](std::span<std::byte> to) {
      std::ranges::generate(to, [this] { return static_cast<std::byte>(++last_); });
      return able_;
    };
  }
  void start(Rng::Source source) {
    device_ = std::make_unique<Rng>(
        std::move(source),
        Device::Surroundings{.dma = memory_,
                             .send = [this](const InterruptMessage& message) { sent_.push_back(message.vector); },
                             .broken = [this](std::string_view why) { broken_ = why; }});
    driver_ = std::make_unique<Driver>(*device_, memory_);
    driver_->begin();
    std::ranges::fill(memory_.bytes().subspan(buffer), unused);
  }
  void ask(u64 at, u32 bytes, u16 flags = device_writes) {
    driver_->describe(0, {.address = at, .bytes = bytes, .flags = flags});
    driver_->offer(0);
    driver_->notify();
    while (device_->has_work()) device_->work();
  }
  std::vector<u8> bytes_at(u64 at, std::size_t bytes) {
    const auto all = memory_.bytes().subspan(at, bytes);
    return {all.begin(), all.end()};
  }

  TestedMemory memory_{0x4'0000};
  std::vector<unsigned> sent_;
  std::string broken_;
  u8 last_ = 0;
  bool able_ = true;
  std::unique_ptr<Rng> device_;
  std::unique_ptr<Driver> driver_;
};

TEST_F(RngTest, SaysWhatItIs) {  // 5.4.1 to 5.4.4
  EXPECT_EQ(device_->read_config(pci::reg_id, ~0u) >> 16, 0x1044u);
  EXPECT_EQ(driver_->get(common_queues, 2), 1u);
  EXPECT_EQ(driver_->offered() & 0xff'ffff, 0u);
  EXPECT_EQ(driver_->get(device_at, 4), 0u) << "it has no configuration";
}

TEST_F(RngTest, FillsABuffer) {  // 5.4.6
  ask(buffer, 5);
  EXPECT_EQ(driver_->used(), 1);
  EXPECT_EQ(driver_->used_bytes(0), 5u);
  EXPECT_EQ(bytes_at(buffer, 6), (std::vector<u8>{1, 2, 3, 4, 5, unused}));
}

TEST_F(RngTest, ALongOneGetsItsBeginning) {
  ask(buffer, 0x8000);
  EXPECT_EQ(driver_->used_bytes(0), Rng::most_bytes);
  EXPECT_EQ(bytes_at(buffer + Rng::most_bytes, 1).front(), unused);
}

TEST_F(RngTest, SaysThatTheHostHasNone) {
  able_ = false;
  ask(buffer, 5);
  EXPECT_EQ(driver_->used(), 1);
  EXPECT_EQ(driver_->used_bytes(0), 0u);
  EXPECT_EQ(bytes_at(buffer, 1).front(), unused);
}

TEST_F(RngTest, FillsAllThatThereAre) {
  for (u16 i = 0; i < 8; ++i) driver_->describe(i, {.address = buffer + 16u * i, .bytes = 8, .flags = device_writes});
  for (unsigned i = 0; i < 3; ++i) {
    for (u16 head = 0; head < 8; ++head) driver_->offer(head);
    driver_->notify();
    while (device_->has_work()) device_->work();
  }
  EXPECT_EQ(driver_->used(), 24);
}

TEST_F(RngTest, WhatCannotBeBreaksIt) {
  ask(buffer, 8, 0);
  EXPECT_TRUE(driver_->is_broken()) << "nothing that it may write";
  EXPECT_EQ(broken_, "a buffer for random bytes that has no room");
  driver_->begin();
  ask(buffer, 0);
  EXPECT_TRUE(driver_->is_broken());
  driver_->begin();
  ask(0x4'0000 - 4, 8);
  EXPECT_TRUE(driver_->is_broken()) << "beyond RAM";
  driver_->begin();
  ask(buffer, 8);
  EXPECT_FALSE(driver_->is_broken()) << "a reset mends it";
  EXPECT_EQ(driver_->used(), 1);
}

TEST_F(RngTest, WithoutASourceItsBytesAreASequence) {
  start({});
  ask(buffer, 20);
  const auto first = bytes_at(buffer, 20);
  const Rng::State saved = device_->state();
  ask(buffer, 20);
  const auto second = bytes_at(buffer, 20);
  EXPECT_NE(first, second);

  start({});
  ask(buffer, 20);
  EXPECT_EQ(bytes_at(buffer, 20), first) << "the same in every run";
  ASSERT_TRUE(device_->set_state(saved));
  EXPECT_EQ(device_->state(), saved);
  start({});
  ASSERT_TRUE(device_->set_state(saved));
  driver_->offer(0);
  ask(buffer, 20);
  EXPECT_EQ(bytes_at(buffer, 20), second) << "and goes on where it was saved";
}

TEST_F(RngTest, OfAStateThatCannotBe) {
  Rng::State state = device_->state();
  state.device.queues.clear();
  EXPECT_EQ(device_->set_state(state).error(), "source of random bytes: it can be in no such state");
}

}  // namespace
}  // namespace cloister::platform::virtio
