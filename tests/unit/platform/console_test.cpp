// A virtio console (virtio 1.2, 5.3), buffer by buffer.
#include "platform/virtio/console.hpp"

#include <gtest/gtest.h>

#include <string>

#include "unit/platform/virtio_ring.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 room_at = 0x1'0000, words_at = 0x2'0000;

class VirtioConsole : public ::testing::Test {
 protected:
  VirtioConsole() { begin(); }
  void begin(u64 features = 0) {
    ASSERT_TRUE(driver_.negotiate(features | feature_version_1));
    in_.begin();
    out_.begin();
    driver_.set(common_status, driver_.status() | status_driver_ok, 1);
  }
  void work() {
    while (device_.has_work()) device_.work();
  }
  void print(const std::string& words, u16 flags = 0) {
    std::ranges::copy(words, memory_.bytes().begin() + words_at);
    out_.describe(0, {.address = words_at, .bytes = static_cast<u32>(words.size()), .flags = flags});
    out_.offer(0);
    out_.notify();
    work();
  }
  void make_room(u16 number, u32 bytes, u16 flags = device_writes) {
    in_.describe(number, {.address = room_at + 0x1000u * number, .bytes = bytes, .flags = flags});
    in_.offer(number);
    in_.notify();
    work();
  }
  void type(const std::string& words) {
    device_.receive(std::span(reinterpret_cast<const u8*>(words.data()), words.size()));
    work();
  }
  std::string come(u16 number) {
    const u32 bytes = in_.used_bytes(number);
    const auto from = memory_.bytes().subspan(room_at + 0x1000u * in_.used_id(number), bytes);
    return {from.begin(), from.end()};
  }

  TestedMemory memory_{0x4'0000};
  std::string printed_, broken_;
  Console device_{[this](u8 byte) { printed_ += static_cast<char>(byte); },
                  {.dma = memory_,
                   .send = [](const InterruptMessage&) {},
                   .broken = [this](std::string_view why) { broken_ = why; }}};
  Driver driver_{device_, memory_};
  Ring in_{driver_, memory_, 0}, out_{driver_, memory_, 1};
};

TEST_F(VirtioConsole, SaysWhatItIs) {  // 5.3.1 to 5.3.4
  EXPECT_EQ(device_.read_config(pci::reg_id, ~0u) >> 16, 0x1043u);
  EXPECT_EQ(driver_.get(common_queues, 2), 2u);
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0u) << "one port, of no size";
}

TEST_F(VirtioConsole, PrintsWhatItIsGiven) {  // 5.3.6
  print("hello\n");
  print(std::string(5000, 'x'));
  EXPECT_EQ(printed_, "hello\n" + std::string(5000, 'x'));
  EXPECT_EQ(out_.used(), 2);
  EXPECT_EQ(out_.used_bytes(0), 0u);
}

TEST_F(VirtioConsole, GivesWhatIsTypedWhenThereIsRoom) {  // 5.3.6
  type("before");
  EXPECT_EQ(in_.used(), 0);
  EXPECT_EQ(device_.backlog(), 6u);
  make_room(0, 4);
  ASSERT_EQ(in_.used(), 1);
  EXPECT_EQ(come(0), "befo");
  make_room(1, 100);
  ASSERT_EQ(in_.used(), 2);
  EXPECT_EQ(come(1), "re");
  make_room(2, 100);
  EXPECT_EQ(in_.used(), 2) << "nothing is typed";
  type("more");
  ASSERT_EQ(in_.used(), 3) << "room that was there before";
  EXPECT_EQ(come(2), "more");
  EXPECT_EQ(device_.backlog(), 0u);
}

TEST_F(VirtioConsole, WorksWithEachFeatureOffAndOn) {  // 6
  for (const u64 features : {u64{0}, feature_indirect, feature_event_index, feature_ring_reset,
                             feature_indirect | feature_event_index | feature_ring_reset}) {
    printed_.clear();
    begin(features);
    print("a line");
    EXPECT_EQ(printed_, "a line") << features;
    make_room(0, 100);
    type("typed");
    ASSERT_EQ(in_.used(), 1) << features;
    EXPECT_EQ(come(0), "typed") << features;
  }
}

TEST_F(VirtioConsole, ADriverThatBeginsAnewFindsNothingOld) {
  EXPECT_TRUE(device_.has_driver());
  type("for another");
  driver_.set(common_status, 0, 1);
  EXPECT_FALSE(device_.has_driver());
  EXPECT_EQ(device_.backlog(), 0u);
}

TEST_F(VirtioConsole, WhatCannotBeBreaksIt) {
  make_room(0, 8, 0);
  type("x");
  EXPECT_TRUE(driver_.is_broken()) << "nothing that it may write";
  EXPECT_EQ(broken_, "a buffer for what is typed that has no room");
  EXPECT_FALSE(device_.has_driver());
  begin();
  print("x", device_writes);
  EXPECT_TRUE(driver_.is_broken()) << "nothing that it may read";
  begin();
  print(std::string(Console::most_printed, 'x'));
  EXPECT_FALSE(driver_.is_broken());
  out_.describe(0, {.address = words_at, .bytes = Console::most_printed + 1});
  out_.offer(0);
  out_.notify();
  work();
  EXPECT_TRUE(driver_.is_broken()) << "too long";
  begin();
  print("again");
  EXPECT_FALSE(driver_.is_broken()) << "a reset mends it";
}

TEST_F(VirtioConsole, GoesOnWhereItWasSaved) {
  type("not taken yet");
  const Console::State saved = device_.state();
  Console other([](u8) {}, {.dma = memory_, .send = [](const InterruptMessage&) {}, .broken = {}});
  ASSERT_TRUE(other.set_state(saved));
  EXPECT_EQ(other.state(), saved);
  EXPECT_EQ(other.backlog(), 13u);
  Console::State none = saved;
  none.device.queues.clear();
  EXPECT_EQ(other.set_state(none).error(), "console: it can be in no such state");
}

}  // namespace
}  // namespace cloister::platform::virtio
