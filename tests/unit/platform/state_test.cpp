// Devices that go on where others were: whatever a device has been through, another one with its state does from then
// on what it does. So nothing that a device remembers is outside its State.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>

#include "platform/platform.hpp"

namespace cloister::platform {
namespace {

using Random = std::mt19937_64;
constexpr u64 hz = 1'000'000'000;

/// A device, and all that it says to the outside, in the order that it says it.
class Tested {
 public:
  virtual ~Tested() = default;
  /// Does one thing to it that the number chooses.
  virtual void act(u64 choice) = 0;
  /// Takes the other's state.
  virtual void go_on_from(const Tested& other) = 0;

  std::vector<u64> said;
};

class TestedUart final : public Tested {
 public:
  void act(u64 choice) override {
    const u16 reg = choice >> 8 & 7;
    const u8 value = static_cast<u8>(choice >> 16);
    if (choice % 5 == 0) {
      uart_.receive(std::array{value, reg == 0 ? u8{0} : value});
    } else if (choice % 5 < 3) {
      uart_.write(reg, value);
    } else {
      said.push_back(uart_.read(reg));
    }
    said.push_back(uart_.backlog());
    if (choice % 997 == 0) uart_.reset();
  }
  void go_on_from(const Tested& other) override {
    uart_.set_state(dynamic_cast<const TestedUart&>(other).uart_.state());
  }

 private:
  Uart16550 uart_{[this](u8 byte) { said.push_back(byte); }, [this](bool level) { said.push_back(level ? 1 : 0); }};
};

class TestedIoApic final : public Tested {
 public:
  void act(u64 choice) override {
    constexpr std::array<u32, 3> offsets{0x00, 0x10, 0x40};
    const u32 value = static_cast<u32>(choice >> 16);
    switch (choice % 4) {
      case 0: ioapic_.set_pin(choice >> 8 & 7, (choice >> 32 & 1) != 0); break;
      case 1: ioapic_.write(offsets[0], value % 0x40); break;
      case 2: ioapic_.write(offsets[1 + (choice >> 8 & 1)], value & 0xfffe'ffff); break;
      case 3: said.push_back(ioapic_.read(offsets[1])); break;
    }
  }
  void go_on_from(const Tested& other) override {
    ioapic_.set_state(dynamic_cast<const TestedIoApic&>(other).ioapic_.state());
  }

 private:
  IoApic ioapic_{[this](const InterruptMessage& m) { said.push_back(u64{m.destination} << 8 | m.vector); }};
};

class TestedPower final : public Tested {
 public:
  void act(u64 choice) override {
    const u16 port = static_cast<u16>(pm1_control_port + (choice >> 8) % 8);
    switch (choice % 4) {
      case 0: power_.press_button(); break;
      case 1:
        if (choice % 5 == 0) power_.wake();
        break;
      case 2: said.push_back(power_.write(port, static_cast<u8>(choice >> 16)).has_value()); break;
      case 3: said.push_back(power_.read(port)); break;
    }
    said.push_back(power_.event_waits());
  }
  void go_on_from(const Tested& other) override {
    power_.set_state(dynamic_cast<const TestedPower&>(other).power_.state());
  }

 private:
  PowerControl power_{[this](bool level) { said.push_back(level ? 1 : 0); }};
};

class TestedRtc final : public Tested {
 public:
  void act(u64 choice) override {
    // Registers with a meaning, and now and then seconds that pass.
    now_ += choice % 7 == 0 ? hz * (choice >> 40 & 0xfff) : choice >> 44;
    rtc_.advance(now_);
    const u8 value = static_cast<u8>(choice >> 16);
    if (choice % 3 == 0) {
      rtc_.write(rtc_index_port, static_cast<u8>((choice >> 8) % 16), now_);
    } else if (choice % 3 == 1) {
      rtc_.write(rtc_data_port, value, now_);
    } else {
      said.push_back(rtc_.read(rtc_data_port, now_));
    }
    said.push_back(rtc_.next_deadline().value_or(0));
    said.push_back(rtc_.battery(now_).ram[1]);
  }
  void go_on_from(const Tested& other) override {
    const auto& from = dynamic_cast<const TestedRtc&>(other);
    rtc_.set_state(from.rtc_.state());
    now_ = from.now_;
  }

 private:
  u64 now_ = 0;
  Rtc rtc_{hz, {1'700'000'000, 0}, {}, [this](bool level) { said.push_back(level ? 1 : 0); }};
};

class TestedApic final : public Tested {
 public:
  TestedApic() { apic_.write(0xf0, 0x1ff, 0); }
  void act(u64 choice) override {
    now_ += choice >> 50;
    apic_.advance(now_);
    const u32 offset = static_cast<u32>((choice >> 8) % 0x40 * 16), value = static_cast<u32>(choice >> 20);
    switch (choice % 8) {
      case 0: apic_.accept(static_cast<u8>(choice >> 16), (choice >> 32 & 1) != 0); break;
      case 1: said.push_back(apic_.read(offset, now_)); break;
      case 2:
      case 3: {
        const auto sent = apic_.x2apic() ? std::nullopt : apic_.write(offset, value & 0xffff'feff, now_);
        if (sent) said.push_back(u64{sent->destination} << 16 | u64{sent->delivery} << 8 | sent->vector);
        break;
      }
      case 4:
        apic_.write(0xf0, 0x1ff, now_);
        apic_.write(0x320, 0x40 | (value & 3) << 17, now_);
        apic_.write(0x380, value % 5000, now_);
        apic_.set_tsc_deadline(now_ + value % 5000, now_);
        break;
      case 5: said.push_back(apic_.acknowledge()); break;
      case 6: choice % 3 == 0 ? apic_.accept_nmi() : said.push_back(apic_.take_nmi()); break;
      case 7:
        if (choice % 101 == 0) apic_.set_base_msr(apic_.base_msr() ^ 0x400);
        said.push_back(apic_.take_eoi_broadcast().value_or(0));
        break;
    }
    said.push_back(apic_.next_deadline().value_or(0));
    said.push_back(apic_.pending().value_or(0));
    said.push_back(apic_.cr8());
  }
  void go_on_from(const Tested& other) override {
    const auto& from = dynamic_cast<const TestedApic&>(other);
    apic_.set_state(from.apic_.state());
    now_ = from.now_;
  }

 private:
  u64 now_ = 0;
  LocalApic apic_{1, hz, hz / 16};
};

struct Device {
  const char* name;
  std::unique_ptr<Tested> (*make)();
  friend std::ostream& operator<<(std::ostream& to, const Device& device) { return to << device.name; }
};
template <class T>
std::unique_ptr<Tested> make() {
  return std::make_unique<T>();
}

class StateOf : public testing::TestWithParam<Device> {};

TEST_P(StateOf, ADeviceIsAllThatItRemembers) {
  for (u64 seed = 0; seed < 60; ++seed) {
    Random random(seed);
    const auto first = GetParam().make(), second = GetParam().make();
    const u64 before = random() % 300;
    for (u64 i = 0; i < before; ++i) first->act(random());
    // The second has a past, too.
    for (u64 i = 0; i < 50; ++i) second->act(random());
    second->go_on_from(*first);
    first->said.clear();
    second->said.clear();
    for (u64 i = 0; i < 300; ++i) {
      const u64 choice = random();
      first->act(choice);
      second->act(choice);
      ASSERT_EQ(first->said, second->said) << "seed " << seed << ", act " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, StateOf,
                         testing::Values(Device{"Uart", make<TestedUart>}, Device{"IoApic", make<TestedIoApic>},
                                         Device{"Power", make<TestedPower>}, Device{"Rtc", make<TestedRtc>},
                                         Device{"LocalApic", make<TestedApic>}),
                         [](const auto& device) { return device.param.name; });

/// A stream may say anything: what a device relies on is asked before.
TEST(StatesThatCannotBe, AreToldApart) {
  const auto timer = [](ApicTimer::Mode mode, u32 initial, u32 first) {
    return ApicTimer::can_be({.mode = mode, .initial = initial, .first = first});
  };
  EXPECT_TRUE(timer(ApicTimer::Mode::periodic, 5, 5));
  EXPECT_TRUE(timer(ApicTimer::Mode::periodic, 0, 0));
  EXPECT_TRUE(timer(ApicTimer::Mode::one_shot, 0, 5));
  EXPECT_FALSE(timer(ApicTimer::Mode::periodic, 0, 5)) << "it would be divided by 0";
  LocalApic::State apic;
  EXPECT_TRUE(LocalApic::can_be(apic));
  apic.timer = {.mode = ApicTimer::Mode::periodic, .first = 1};
  EXPECT_FALSE(LocalApic::can_be(apic));
  EXPECT_TRUE(Uart16550::can_be({.fifo = std::deque<u8>(16)}));
  EXPECT_FALSE(Uart16550::can_be({.fifo = std::deque<u8>(17)}));
  EXPECT_TRUE(Rtc::can_be({.start = {1'700'000'000, 5}, .index = 127}));
  EXPECT_FALSE(Rtc::can_be({.index = 128}));
  EXPECT_FALSE(Rtc::can_be({.start = {i64{1} << 40, 0}}));
  EXPECT_FALSE(Rtc::can_be({.start = {0, -1}}));
  EXPECT_FALSE(Rtc::can_be({.battery = {.ahead = {0, 1'000'000'000}}}));
}

TEST(StateOfRtc, TheDateGoesOnWhereTheCounterStoodStill) {
  std::vector<bool> levels;
  Rtc rtc(hz, {1'700'000'000, 0}, {}, [&levels](bool level) { levels.push_back(level); });
  const auto read = [&rtc](u8 index, u64 now) {
    rtc.write(rtc_index_port, index, now);
    return rtc.read(rtc_data_port, now);
  };
  const auto write = [&rtc](u8 index, u8 value, u64 now) {
    rtc.write(rtc_index_port, index, now);
    rtc.write(rtc_data_port, value, now);
  };
  constexpr u64 now = 10 * hz;
  write(11, 0x02 | 0x20, now);  // the alarm's interrupt
  const u8 minutes = read(2, now);
  write(1, 0xc0, now);  // each second of the hour's next minute but one
  write(3, static_cast<u8>(minutes + 2), now);
  write(5, 0xc0, now);
  rtc.catch_up({1'700'000'010 + 3600, 0}, now);
  EXPECT_EQ(read(2, now), minutes);
  EXPECT_EQ(levels, std::vector{true}) << "the alarm was due meanwhile";
  EXPECT_EQ(read(12, now), 0x80 | 0x20 | 0x10 | 0x40);
  rtc.catch_up({1'700'000'000, 0}, now);
  EXPECT_EQ(read(2, now), minutes) << "never back";
  rtc.stood_still(120 * hz, now);
  EXPECT_EQ(read(2, now), minutes + 2);
}

}  // namespace
}  // namespace cloister::platform
