// What every virtio device does (virtio 1.2, 2, 3.1 and 4.1), by one that copies what it reads to what it writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "arch/try.hpp"
#include "unit/platform/virtio_driver.hpp"

namespace cloister::platform::virtio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Copier final : public Device {
 public:
  explicit Copier(Surroundings surroundings) : Device({.number = 42, .class_code = 0xff'0000}, 2, surroundings) {}
  unsigned served = 0, at_once = 1000;
  std::function<void()> meanwhile = [] {};  ///< what the driver does while a request is done

 private:
  u64 own_features() const override { return 1u << 3; }
  std::span<const u8> own_config() const override { return config_; }
  Checked<bool> serve(unsigned, Queue& queue) override {
    for (unsigned done = 0; done < at_once; ++done) {
      const auto chain = TRY(queue.pop());
      if (!chain) return TRY(queue.listen());
      ++served;
      std::vector<std::byte> data(std::min<u64>(std::min(chain->readable_bytes, chain->writable_bytes), 0x1000));
      if (!apart([this] { meanwhile(); })) return false;
      TRY(chain->read(dma(), 0, data));
      TRY(chain->write(dma(), 0, data));
      TRY(queue.push(*chain, static_cast<u32>(data.size())));
    }
    return true;
  }
  const std::array<u8, 6> config_{1, 2, 3, 4, 5, 6};
};

class Virtio : public ::testing::Test {
 protected:
  Virtio() {
    device_.line_changed = [this] { line_ = device_.line(); };
  }
  void msix(unsigned vector, u32 data) {
    device_.write_memory(msix_bar, vector * 16, 0xfee0'0000, 8);
    device_.write_memory(msix_bar, vector * 16 + 8, data, 8);
  }
  u16 capability(u8 id, u8 type = 0) {
    for (u32 at = device_.read_config(pci::reg_capabilities, 0xff); at != 0;) {
      const u32 head = device_.read_config(static_cast<u16>(at), ~0u);
      if ((head & 0xff) == id && (type == 0 || head >> 24 == type)) return static_cast<u16>(at);
      at = head >> 8 & 0xff;
    }
    ADD_FAILURE() << "no capability " << int{id} << " of type " << int{type};
    return 0;
  }
  void enable_msix() {
    device_.write_config(capability(pci::Msix::capability_id), u32{pci::Msix::control_enable} << 16, 0xffff'0000);
  }
  /// A request that has four bytes copied.
  void offer_copy() {
    driver_.describe(0, {.address = 0x5000, .bytes = 4, .flags = more, .next = 1});
    driver_.describe(1, {.address = 0x6000, .bytes = 4, .flags = device_writes});
    driver_.offer(0);
  }
  /// One request, of this descriptor 0, breaks the device, and a reset mends it.
  void expect_broken(const char* why) {
    driver_.offer(0);
    driver_.notify();
    EXPECT_TRUE(driver_.is_broken()) << why;
    EXPECT_THAT(broken_, HasSubstr(why));
    broken_.clear();
    driver_.notify();
    driver_.begin();
    offer_copy();
    driver_.notify();
    EXPECT_EQ(driver_.used(), 1) << why;
    driver_.begin(feature_version_1 | feature_indirect);
  }

  TestedMemory memory_{0x10000};
  std::vector<unsigned> sent_;
  std::string broken_;
  bool line_ = false;
  Copier device_{{.dma = memory_,
                  .send = [this](const InterruptMessage& m) { sent_.push_back(m.vector); },
                  .broken = [this](std::string_view why) { broken_ = why; }}};
  Driver driver_{device_, memory_};
};

TEST_F(Virtio, IsFoundByItsCapabilities) {  // 4.1.2, 4.1.4
  EXPECT_EQ(device_.read_config(pci::reg_id, ~0u), (0x1040u + 42) << 16 | 0x1af4);
  const auto offset = [this](u8 type) { return device_.read_config(capability(9, type) + 8, ~0u); };
  const auto length = [this](u8 type) { return device_.read_config(capability(9, type) + 12, ~0u); };
  EXPECT_EQ(offset(1), common_at);
  EXPECT_EQ(length(1), 0x3cu);
  EXPECT_EQ(offset(2), notify_at);
  EXPECT_EQ(device_.read_config(capability(9, 2) + 16, ~0u), 4u);
  EXPECT_EQ(offset(3), isr_at);
  EXPECT_EQ(offset(4), device_at);
  for (u8 type : {1, 2, 3, 4}) EXPECT_EQ(device_.read_config(capability(9, type) + 4, 0xff), structures_bar);
  EXPECT_EQ(driver_.get(device_at, 4), 0x0403'0201u);
  EXPECT_EQ(driver_.get(device_at + 4, 4), 0x0605u);
  EXPECT_EQ(driver_.get(common_queues, 2), 2u);
  EXPECT_EQ(device_.read_config(capability(pci::Msix::capability_id), ~0u) >> 16, 2u) << "three vectors";
}

TEST_F(Virtio, NegotiatesOnlyWhatItOffers) {  // 2.2, 3.1.1
  EXPECT_EQ(driver_.offered(), feature_version_1 | feature_indirect | feature_event_index | feature_ring_reset | 8);
  driver_.set(common_device_feature_select, 2, 4);
  EXPECT_EQ(driver_.get(common_device_feature, 4), 0u);
  EXPECT_FALSE(driver_.negotiate(8)) << "no device of old";
  EXPECT_FALSE(driver_.negotiate(feature_version_1 | 16));
  driver_.set(common_status, driver_.status() | status_driver_ok, 1);
  EXPECT_EQ(driver_.status() & status_driver_ok, 0);
  for (u64 feature : {u64{0}, feature_indirect, feature_event_index, feature_ring_reset, u64{8}})
    EXPECT_TRUE(driver_.negotiate(feature_version_1 | feature));
  driver_.set(common_driver_feature_select, 0, 4);
  driver_.set(common_driver_feature, 0xff, 4);
  EXPECT_EQ(driver_.get(common_driver_feature, 4), 8u) << "they are settled";
}

TEST_F(Virtio, ServesAQueue) {
  driver_.begin();
  memory_.put<u32>(0x5000, 0x1234'5678);
  offer_copy();
  EXPECT_EQ(driver_.used(), 0);
  driver_.notify();
  EXPECT_EQ(driver_.used(), 1);
  EXPECT_EQ(driver_.used_id(0), 0u);
  EXPECT_EQ(driver_.used_bytes(0), 4u);
  EXPECT_EQ(memory_.get<u32>(0x6000), 0x1234'5678u);
  for (unsigned i = 0; i < 70'000; ++i) {  // the indices wrap
    offer_copy();
    driver_.notify();
  }
  EXPECT_EQ(driver_.used(), static_cast<u16>(70'001));
  EXPECT_EQ(device_.served, 70'001u);
}

TEST_F(Virtio, PartsMayBeCutAnyhow) {
  driver_.begin(feature_version_1 | feature_indirect);
  for (u16 i = 0; i < 8; ++i) memory_.put<u8>(0x5000 + i, static_cast<u8>(i + 1));
  constexpr u64 table = 0x7000;
  driver_.describe(0, {.address = 0x5000, .bytes = 1, .flags = more, .next = 3}, table);
  driver_.describe(3, {.address = 0x5001, .bytes = 0, .flags = more, .next = 1}, table);
  driver_.describe(1, {.address = 0x5004, .bytes = 3, .flags = more, .next = 2}, table);
  driver_.describe(2, {.address = 0x6000, .bytes = 2, .flags = device_writes | more, .next = 4}, table);
  driver_.describe(4, {.address = 0x6100, .bytes = 9, .flags = device_writes}, table);
  driver_.describe(5, {.address = table, .bytes = 5 * 16, .flags = indirect});
  driver_.offer(5);
  driver_.notify();
  EXPECT_FALSE(driver_.is_broken()) << broken_;
  EXPECT_EQ(driver_.used_id(0), 5u);
  EXPECT_EQ(driver_.used_bytes(0), 4u);
  EXPECT_EQ(memory_.get<u16>(0x6000), 0x0501);
  EXPECT_EQ(memory_.get<u16>(0x6100), 0x0706);
}

TEST_F(Virtio, HostileQueuesBreakItAndAResetMendsIt) {
  const auto begin = [this] { driver_.begin(feature_version_1 | feature_indirect); };
  begin();
  driver_.describe(0, {.address = 0x5000, .bytes = 4, .flags = more, .next = 0});
  expect_broken("loop");
  driver_.describe(0, {.address = 0x5000, .bytes = 4, .flags = more, .next = 8});
  expect_broken("beyond its table");
  driver_.describe(0, {.address = 0xfffe, .bytes = 4, .flags = more, .next = 1});
  driver_.describe(1, {.address = 0x6000, .bytes = 4, .flags = device_writes});
  expect_broken("not in RAM");
  driver_.describe(0, {.address = ~u64{0}, .bytes = ~0u, .flags = more, .next = 1});
  driver_.describe(1, {.address = 0x6000, .bytes = 4, .flags = device_writes});
  expect_broken("not in RAM");
  driver_.describe(0, {.address = 0x5000, .bytes = 4, .flags = more | device_writes, .next = 1});
  driver_.describe(1, {.address = 0x6000, .bytes = 4});
  expect_broken("behind one that it writes");
  driver_.describe(0, {.address = 0x7000, .bytes = 24, .flags = indirect});
  expect_broken("no multiple of 16");
  driver_.describe(0, {.address = 0x7000, .bytes = 0, .flags = indirect});
  expect_broken("no multiple of 16");
  driver_.describe(0, {.address = 0x7000, .bytes = 16, .flags = indirect | more, .next = 1});
  expect_broken("where none may be");
  driver_.describe(0, {.address = 0x7000, .bytes = 16, .flags = indirect}, 0x7000);
  driver_.describe(0, {.address = 0x7000, .bytes = 16, .flags = indirect});
  expect_broken("where none may be");
  driver_.describe(0, {.address = 0x2'0000, .bytes = 16, .flags = indirect});
  expect_broken("not in RAM");
  driver_.describe(0, {.address = ~u64{15}, .bytes = ~u32{15}, .flags = indirect});
  expect_broken("not in RAM");
  memory_.put<u16>(Driver::driver_at + 2, 100);
  driver_.notify();
  EXPECT_THAT(broken_, HasSubstr("jumped"));
  driver_.begin();
  driver_.describe(0, {.address = 0x7000, .bytes = 16, .flags = indirect});
  expect_broken("where none may be");  // it was not negotiated
  driver_.offer(8);
  driver_.notify();
  EXPECT_THAT(broken_, HasSubstr("beyond its table"));
}

TEST_F(Virtio, QueuesThatCannotBe) {
  const auto with = [this](u64 at, u64 value, unsigned bytes) {
    EXPECT_TRUE(driver_.negotiate(feature_version_1));
    driver_.set(common_queue_select, 0, 2);
    driver_.set(common_queue_size, 8, 2);
    driver_.set(at, value, bytes);
    driver_.set(common_queue_enable, 1, 2);
    return driver_.is_broken();
  };
  EXPECT_TRUE(with(common_queue_size, 0, 2));
  EXPECT_TRUE(with(common_queue_size, 7, 2));
  EXPECT_TRUE(with(common_queue_size, 256, 2));
  EXPECT_TRUE(with(common_queue_descriptors, 0x1008, 4));
  EXPECT_TRUE(with(common_queue_driver, 0x1001, 4));
  EXPECT_TRUE(with(common_queue_device, 0x1002, 4));
  EXPECT_FALSE(with(common_queue_device, 0x1004, 4));
  driver_.set(common_queue_size, 4, 2);
  EXPECT_EQ(driver_.get(common_queue_size, 2), 8u) << "it is in use";
  driver_.set(common_queue_select, 2, 2);
  EXPECT_EQ(driver_.get(common_queue_size, 2), 0u) << "there is none";
  driver_.set(common_queue_enable, 1, 2);
  driver_.notify(2);
  driver_.notify(1000);
  // A queue outside memory is found out when it is used.
  EXPECT_TRUE(driver_.negotiate(feature_version_1));
  driver_.enable_queue();
  EXPECT_TRUE(driver_.negotiate(feature_version_1));
  driver_.set(common_queue_select, 0, 2);
  driver_.set(common_queue_driver, 1u << 30, 4);
  driver_.set(common_queue_enable, 1, 2);
  driver_.set(common_status, 15, 1);
  driver_.notify();
  EXPECT_TRUE(driver_.is_broken());
}

TEST_F(Virtio, DoesNothingBeforeItMay) {
  EXPECT_TRUE(driver_.negotiate(feature_version_1));
  driver_.enable_queue();
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 0) << "not DRIVER_OK";
  driver_.begin();
  device_.write_config(pci::reg_command, pci::command_memory, 0xffff);
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 0) << "no bus master";
  device_.write_config(pci::reg_command, pci::command_master, 0xffff);
  driver_.notify();
  EXPECT_EQ(driver_.used(), 1);
  driver_.set(common_status, 0, 1);
  EXPECT_EQ(driver_.status(), 0);
  driver_.notify();
  EXPECT_EQ(driver_.get(common_queue_enable, 2), 0u);
}

TEST_F(Virtio, InterruptsByMsix) {  // 4.1.5.1.2
  msix(0, 0x30);
  msix(1, 0x31);
  enable_msix();
  driver_.begin();
  driver_.set(common_config_vector, 0, 2);
  offer_copy();
  driver_.notify();
  EXPECT_THAT(sent_, ElementsAre(0x31));
  EXPECT_EQ(driver_.get(isr_at, 1), 0u);
  EXPECT_FALSE(line_);
  memory_.put<u16>(Driver::driver_at, 1);  // it does not want to hear of any
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 2);
  EXPECT_EQ(sent_.size(), 1u);
  driver_.notify();  // and nothing was done for this one
  memory_.put<u16>(Driver::driver_at, 0);
  driver_.notify();
  EXPECT_EQ(sent_.size(), 1u);
  driver_.offer(9);
  driver_.notify();
  EXPECT_THAT(sent_, ElementsAre(0x31, 0x30)) << "that it is broken is a change of its configuration";
  driver_.set(common_config_vector, 3, 2);
  EXPECT_EQ(driver_.get(common_config_vector, 2), Queue::no_vector) << "there is none";
}

TEST_F(Virtio, InterruptsByItsLine) {  // 4.1.4.5
  driver_.begin();
  offer_copy();
  driver_.notify();
  EXPECT_TRUE(line_);
  EXPECT_NE(device_.read_config(pci::reg_command, ~0u) & pci::status_interrupt, 0u);
  device_.write_config(pci::reg_command, pci::command_master | pci::command_no_intx, 0xffff);
  EXPECT_FALSE(line_);
  device_.write_config(pci::reg_command, pci::command_master, 0xffff);
  EXPECT_TRUE(line_);
  EXPECT_EQ(driver_.get(isr_at, 1), 1u);
  EXPECT_FALSE(line_) << "to read it is to acknowledge it";
  EXPECT_EQ(driver_.get(isr_at, 1), 0u);
  driver_.offer(9);
  driver_.notify();
  EXPECT_EQ(driver_.get(isr_at, 1), 2u);
  offer_copy();
  driver_.begin();
  offer_copy();
  driver_.notify();
  EXPECT_TRUE(line_);
  driver_.set(common_status, 0, 1);
  EXPECT_FALSE(line_);
}

TEST_F(Virtio, TellsByTheEventIndex) {  // 2.7.10
  driver_.begin(feature_version_1 | feature_event_index);
  const auto event = [this](u16 index) { memory_.put<u16>(Driver::driver_at + 4 + 2 * 8, index); };
  const auto told = [this] { return driver_.get(isr_at, 1) == 1; };
  event(1);
  offer_copy();
  driver_.notify();
  EXPECT_FALSE(told()) << "it wants to hear of the second";
  EXPECT_EQ(memory_.get<u16>(Driver::device_at_ + 4 + 8 * 8), 1) << "and is to notify of its next";
  offer_copy();
  offer_copy();
  driver_.notify();
  EXPECT_TRUE(told());
  offer_copy();
  driver_.notify();
  EXPECT_FALSE(told());
  EXPECT_EQ(memory_.get<u16>(Driver::device_at_ + 4 + 8 * 8), 4);
}

TEST_F(Virtio, LongQueuesAreServedInTurns) {
  device_.at_once = 2;
  driver_.begin();
  for (int i = 0; i < 5; ++i) offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 2);
  EXPECT_TRUE(device_.has_work());
  device_.work();
  EXPECT_EQ(driver_.used(), 4);
  device_.work();
  EXPECT_EQ(driver_.used(), 5);
  EXPECT_FALSE(device_.has_work());
}

TEST_F(Virtio, OneQueueCanBeReset) {  // 2.6.1
  driver_.begin(feature_version_1 | feature_ring_reset);
  offer_copy();
  driver_.notify();
  driver_.set(common_queue_reset, 1, 2);
  EXPECT_EQ(driver_.get(common_queue_reset, 2), 0u);
  EXPECT_EQ(driver_.get(common_queue_enable, 2), 0u);
  memory_.put<u16>(Driver::driver_at + 2, 0);
  driver_.enable_queue();
  offer_copy();
  EXPECT_FALSE(driver_.is_broken());
}

// While a request is done its buffers are the device's. The driver sees that a reset waits for it (2.4, 2.6.1).
TEST_F(Virtio, AResetComesWhenTheRequestIsDone) {
  driver_.begin();
  device_.meanwhile = [this] {
    driver_.set(common_status, 0, 1);
    EXPECT_NE(driver_.status(), 0) << "not yet";
    EXPECT_FALSE(device_.has_work());
  };
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(driver_.used(), 0) << "nobody waits for its answer";
  device_.meanwhile = [this] {
    driver_.set(common_queue_reset, 1, 2);
    driver_.set(common_queue_select, 1, 2);
    driver_.set(common_queue_reset, 1, 2);
    EXPECT_EQ(driver_.get(common_queue_reset, 2), 0u) << "the other one is at rest";
    driver_.set(common_queue_select, 0, 2);
    EXPECT_EQ(driver_.get(common_queue_reset, 2), 1u) << "not yet";
    EXPECT_EQ(driver_.get(common_queue_enable, 2), 1u);
  };
  driver_.begin(feature_version_1 | feature_ring_reset);
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.get(common_queue_reset, 2), 0u);
  EXPECT_EQ(driver_.get(common_queue_enable, 2), 0u);
  EXPECT_EQ(driver_.used(), 0);
  device_.meanwhile = [] {};
  driver_.begin();
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 1);
}

TEST(VirtioLater, WhoIsToldServesIt) {
  TestedMemory memory(0x10000);
  unsigned told = 0, apart = 0;
  Copier device({.dma = memory,
                 .send = [](const InterruptMessage&) {},
                 .broken = {},
                 .later = [&] { ++told; },
                 .apart =
                     [&](const std::function<void()>& what) {
                       ++apart;
                       what();
                     }});
  Driver driver(device, memory);
  driver.begin();
  driver.describe(0, {.address = 0x5000, .bytes = 4, .flags = more, .next = 1});
  driver.describe(1, {.address = 0x6000, .bytes = 4, .flags = device_writes});
  driver.offer(0);
  driver.notify();
  EXPECT_EQ(told, 1u);
  EXPECT_EQ(driver.used(), 0);
  EXPECT_TRUE(device.has_work());
  device.work();
  EXPECT_EQ(apart, 1u);
  EXPECT_EQ(driver.used(), 1);
  EXPECT_FALSE(device.has_work());
}

TEST_F(Virtio, TheStructuresHaveAWindowInConfigurationSpace) {  // 4.1.4.9
  const u16 at = capability(9, 5);
  const auto open = [&](u32 bar, u32 offset, u32 length) {
    device_.write_config(at + 4, bar, 0xff);
    device_.write_config(at + 8, offset, ~0u);
    device_.write_config(at + 12, length, ~0u);
  };
  open(structures_bar, common_status, 1);
  device_.write_config(at + 16, status_acknowledge, ~0u);
  EXPECT_EQ(driver_.status(), status_acknowledge);
  EXPECT_EQ(device_.read_config(at + 16, ~0u), status_acknowledge);
  open(structures_bar, device_at, 4);
  EXPECT_EQ(device_.read_config(at + 16, ~0u), 0x0403'0201u);
  for (const auto& [bar, offset, length] : {std::array<u32, 3>{1, 0, 4},
                                            {structures_bar, 0x4000, 4},
                                            {structures_bar, 1, 4},
                                            {structures_bar, 0xffff'fffc, 4},
                                            {structures_bar, 0, 8},
                                            {255, 0, 4}}) {
    open(bar, offset, length);
    EXPECT_EQ(device_.read_config(at + 16, ~0u), 0u) << bar << " " << offset << " " << length;
    device_.write_config(at + 16, 0, ~0u);
  }
  EXPECT_EQ(driver_.status(), status_acknowledge);
}

TEST_F(Virtio, AnotherGoesOnFromItsState) {
  device_.at_once = 2;
  driver_.begin(feature_version_1 | feature_event_index);
  for (int i = 0; i < 5; ++i) offer_copy();
  driver_.notify();
  Copier other({.dma = memory_, .send = [](const InterruptMessage&) {}, .broken = {}});
  const Device::State state = device_.state();
  ASSERT_TRUE(other.set_state(state));
  EXPECT_EQ(other.state(), state);
  EXPECT_TRUE(other.has_work());
  other.work();
  EXPECT_EQ(driver_.used(), 5);
  EXPECT_EQ(memory_.get<u16>(Driver::device_at_ + 4 + 8 * 8), 5) << "the event index is still negotiated";

  const auto cannot_be = [&](auto change) {
    Device::State changed = state;
    change(changed);
    return !other.set_state(changed);
  };
  EXPECT_TRUE(cannot_be([](Device::State& s) { s.queues.pop_back(); }));
  EXPECT_TRUE(cannot_be([](Device::State& s) { s.queues[0].size = 0; }));
  EXPECT_TRUE(cannot_be([](Device::State& s) { s.queues[0].device = 3; }));
  EXPECT_TRUE(cannot_be([](Device::State& s) { s.msix.table.clear(); }));
  EXPECT_TRUE(cannot_be([](Device::State& s) { s.driver_features = ~u64{0}; }));
}

/// Queues of random bytes, and random accesses: nothing breaks but the device, which a reset mends.
TEST_F(Virtio, AnyDriverIsServedOrBreaksTheDevice) {
  std::mt19937_64 random(1);
  unsigned broken = 0;
  for (int round = 0; round < 3000; ++round) {
    driver_.begin(feature_version_1 | (random() & (feature_indirect | feature_event_index)));
    for (u16 i = 0; i < 8; ++i) {
      const u64 r = random();
      const Descriptor one{.address = r & 0x1'0fff,
                           .bytes = (r >> 20 & 3) == 0 ? static_cast<u32>(r >> 32) : static_cast<u32>(r >> 32 & 0xff0),
                           .flags = static_cast<u16>(r >> 24 & 7),
                           .next = static_cast<u16>(r >> 28 & 15)};
      // Rings and tables stay where they are; what the device writes goes elsewhere.
      driver_.describe(i, one.address < 0x4000 ? Descriptor{.address = one.address, .bytes = one.bytes & 0xff} : one);
    }
    for (unsigned i = 0; i <= (random() & 7); ++i) driver_.offer(random() % 9 & 15);
    if (random() % 16 == 0) memory_.put<u16>(Driver::driver_at + 2, static_cast<u16>(random()));
    driver_.notify();
    for (int i = 0; i < 4 && device_.has_work(); ++i) device_.work();
    broken += driver_.is_broken() ? 1 : 0;
    for (int i = 0; i < 20; ++i) {
      const u64 r = random();
      const unsigned size = 1u << (r >> 4 & 3);
      const u64 at = (r >> 8 & 0x3fff) / size * size & ((r >> 60) == 0 ? ~u64{0} : ~u64{0xfc0});
      if ((r & 1) != 0) {
        device_.write_memory(r & 2 ? msix_bar : structures_bar, at & (r & 2 ? 0xfff : 0x3fff), random() >> (r >> 56),
                             size);
      } else {
        device_.read_memory(structures_bar, at, size);
      }
      device_.write_config(static_cast<u16>((r >> 24 & 0xff) & ~3u), static_cast<u32>(r >> 32), ~0u);
      device_.read_config(static_cast<u16>((r >> 16 & 0xff) & ~3u), ~0u);
    }
  }
  EXPECT_GT(broken, 500u);
  EXPECT_LT(broken, 3000u);
  driver_.begin();
  offer_copy();
  driver_.notify();
  EXPECT_EQ(driver_.used(), 1);
}

}  // namespace
}  // namespace cloister::platform::virtio
