// The PCI bus as a driver finds it: PCI Local Bus 3.0, 3.2.2.3.2 and 6; PCI Express Base 5.0, 6.1.4, 7.2.2, 7.5.1 and
// 7.7.2; SDM vol. 3A, 11.11.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "platform/bytes.hpp"
#include "platform/pci/host_bridge.hpp"
#include "platform/pci/msix.hpp"

namespace cloister::platform::pci {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// With 4 KiB of memory below 4 GiB and 16 KiB above, which remember what is written.
class TestedFunction final : public Function {
 public:
  TestedFunction()
      : Function({.vendor = 0x1234,
                  .device = 0x5678,
                  .class_code = 0x01'0203,
                  .revision = 9,
                  .subsystem_vendor = 0xaaaa,
                  .subsystem = 0xbbbb,
                  .intx = true}) {
    config().add_bar(1, 0x1000, false);
    config().add_bar(4, 0x4000, true);
  }
  u64 read_memory(unsigned bar, u64 offset, unsigned size) override { return bar << 24 | offset << 4 | size; }
  void write_memory(unsigned bar, u64 offset, u64 value, unsigned size) override {
    written.insert(written.end(), {bar, offset, value, size});
  }
  bool line() const override { return asserted; }

  std::vector<u64> written;
  bool asserted = false;
};

PciWindows windows() {
  MemoryMap map = *make_memory_map(u64{512} << 20, u64{64} << 20, 46);
  EXPECT_TRUE(add_pci(map, 46));
  return *map.pci;
}

class Pci : public ::testing::Test {
 protected:
  Pci() { EXPECT_TRUE(bridge_.add(function_)); }
  arch::Gpa ecam(unsigned device, u16 offset) const { return windows_.ecam + (device << 15 | offset); }
  u32 get(unsigned device, u16 offset, unsigned size = 4) {
    return static_cast<u32>(bridge_.read(ecam(device, offset), size).value());
  }
  void set(unsigned device, u16 offset, u32 value, unsigned size = 4) {
    EXPECT_TRUE(bridge_.write(ecam(device, offset), value, size));
  }
  u32 by_ports(u32 address, u16 port = data_port, unsigned size = 4) {
    bridge_.write_port(address_port, address, 4);
    return bridge_.read_port(port, size);
  }

  const PciWindows windows_ = windows();
  std::map<u32, bool> lines_;
  HostBridge bridge_{windows_, [this](u32 gsi, bool asserted) { lines_[gsi] = asserted; }};
  TestedFunction function_;
};

TEST_F(Pci, IsFoundByPortsAndByMemory) {
  EXPECT_EQ(get(0, reg_class) >> 8, 0x06'0000u) << "the bridge itself";
  EXPECT_EQ(get(1, reg_id), 0x5678'1234u);
  EXPECT_EQ(get(1, reg_class), 0x0102'0309u);
  EXPECT_EQ(get(1, reg_subsystem), 0xbbbb'aaaau);
  EXPECT_EQ(get(1, 0x02, 2), 0x5678u);
  EXPECT_EQ(get(1, 0x0b, 1), 0x01u);
  EXPECT_EQ(bridge_.read(ecam(1, 0), 8).value(), u64{get(1, 4)} << 32 | 0x5678'1234u);
  EXPECT_EQ(get(1, 0x100), 0u) << "no extended capabilities";
  EXPECT_EQ(by_ports(0x8000'0800), 0x5678'1234u);
  EXPECT_EQ(by_ports(0x8000'0800, data_port + 2, 2), 0x5678u);
  EXPECT_EQ(by_ports(0x8000'0800, data_port + 3, 1), 0x56u);
  EXPECT_EQ(bridge_.read_port(address_port, 4), 0x8000'0800u);
}

TEST_F(Pci, NobodyElseAnswers) {
  EXPECT_EQ(get(2, 0), ~0u);
  EXPECT_EQ(bridge_.read(ecam(1, 0) + 0x1000, 4).value(), ~0u) << "another function of the device";
  EXPECT_EQ(by_ports(0x8001'0800), ~0u) << "another bus";
  EXPECT_EQ(by_ports(0x0000'0800), ~0u) << "the address is not enabled";
  EXPECT_EQ(by_ports(0x8000'0800, data_port + 3, 2), 0xffffu) << "beyond the data port";
  bridge_.write_port(address_port + 3, 1, 1);  // as Linux does, to see that it is no older mechanism
  EXPECT_EQ(bridge_.read_port(address_port, 4), 0x8000'0800u) << "a byte is not the address";
  EXPECT_FALSE(bridge_.read(ecam(1, 2), 4)) << "crosses registers";
  EXPECT_FALSE(bridge_.read(windows_.ecam + windows_.ecam_bytes, 4));
  EXPECT_FALSE(bridge_.write(windows_.low - 1, 0, 1));
}

TEST_F(Pci, MemoryHasAPlaceFromTheStartAndCanBeMoved) {
  const u32 low = get(1, reg_bar0 + 4), high = get(1, reg_bar0 + 16);
  EXPECT_EQ(low, windows_.low.value);
  EXPECT_EQ(high & 0xf, 0xcu) << "64 bits, prefetchable";
  EXPECT_EQ(u64{get(1, reg_bar0 + 20)} << 32 | (high & ~0xfu), windows_.high.value);
  EXPECT_EQ(bridge_.read(windows_.low + 8, 4), u64{1 << 24 | 8 << 4 | 4});
  EXPECT_EQ(bridge_.read(windows_.high + 0x3ff8, 8), u64{4 << 24 | 0x3ff8 << 4 | 8});
  EXPECT_FALSE(bridge_.read(windows_.high + 0x4000, 4));
  EXPECT_TRUE(bridge_.write(windows_.high + 0x10, 0x77, 2));
  EXPECT_THAT(function_.written, ElementsAre(4, 0x10, 0x77, 2));

  // 7.5.1.2.1: all ones, and what comes back says the size.
  for (u16 bar : {0, 8, 12}) {
    set(1, reg_bar0 + bar, ~0u);
    EXPECT_EQ(get(1, reg_bar0 + bar), 0u) << bar;
  }
  set(1, reg_bar0 + 4, ~0u);
  EXPECT_EQ(get(1, reg_bar0 + 4), 0xffff'f000u);
  set(1, reg_bar0 + 16, ~0u);
  set(1, reg_bar0 + 20, ~0u);
  EXPECT_EQ(get(1, reg_bar0 + 16), 0xffff'c00cu);
  EXPECT_EQ(get(1, reg_bar0 + 20), ~0u);
  set(1, reg_bar0 + 4, 0xd000'0000);
  EXPECT_FALSE(bridge_.read(windows_.low, 4));
  EXPECT_TRUE(bridge_.read(arch::Gpa{0xd000'0000}, 4));
  set(1, reg_command, 0, 1);
  EXPECT_FALSE(bridge_.read(arch::Gpa{0xd000'0000}, 4)) << "memory is not decoded";
}

TEST_F(Pci, SoftwareWritesOnlyWhatItMay) {
  set(1, reg_id, 0);
  set(1, reg_class, 0);
  set(1, reg_subsystem, 0);
  EXPECT_EQ(get(1, reg_id), 0x5678'1234u);
  EXPECT_EQ(get(1, reg_class), 0x0102'0309u);
  set(1, reg_command, ~0u);
  EXPECT_EQ(get(1, reg_command), command_memory | command_master | command_no_intx);
  set(1, reg_interrupt, ~0u);
  EXPECT_EQ(get(1, reg_interrupt), 0x1ffu) << "INTA";
  set(1, reg_cache_line, 0x1010'1010);
  EXPECT_EQ(get(1, reg_cache_line), 0x10u);
  set(1, reg_interrupt + 1, 0, 1);
  EXPECT_EQ(get(1, reg_interrupt), 0x1ffu);
  set(0, reg_command, ~0u);
  for (u16 offset = 0x40; offset < 0x1000; offset += 4) set(1, offset, ~0u);
  EXPECT_EQ(get(1, 0xffc), 0u);
}

TEST_F(Pci, CapabilitiesAreAList) {
  EXPECT_EQ(get(1, reg_command) & status_capabilities, 0u);
  const u8 first[] = {1, 2, 3}, second[] = {0, 0x80}, writable[] = {0, 0xc0};
  EXPECT_EQ(function_.config().add_capability(0x42, first), 0x40);
  EXPECT_EQ(function_.config().add_capability(0x43, second, writable), 0x48);
  EXPECT_EQ(get(1, reg_command) & status_capabilities, status_capabilities);
  EXPECT_EQ(get(1, reg_capabilities), 0x40u);
  EXPECT_EQ(get(1, 0x40), 0x0201'4842u);
  EXPECT_EQ(get(1, 0x44), 3u);
  EXPECT_EQ(get(1, 0x48), 0x8000'0043u);
  set(1, 0x48, 0x7fff'ffff);
  EXPECT_EQ(get(1, 0x48), 0x4000'0043u);
}

TEST_F(Pci, LinesAreSharedAndTold) {
  for (u32 gsi = first_gsi; gsi < first_gsi + gsis; ++gsi) EXPECT_FALSE(lines_.at(gsi));
  std::array<TestedFunction, 8> more;
  for (TestedFunction& one : more) ASSERT_TRUE(bridge_.add(one));
  TestedFunction& ninth = more.back();  // device 9, which shares the line of device 1
  function_.asserted = ninth.asserted = true;
  function_.line_changed();
  EXPECT_TRUE(lines_.at(17));
  EXPECT_FALSE(lines_.at(18));
  function_.asserted = false;
  function_.line_changed();
  EXPECT_TRUE(lines_.at(17)) << "the other still holds it";
  ninth.asserted = false;
  ninth.line_changed();
  EXPECT_FALSE(lines_.at(17));
}

TEST_F(Pci, TakesNoMoreThanHasAPlace) {
  std::array<TestedFunction, most_devices> more;
  unsigned taken = 0;
  for (TestedFunction& one : more) taken += bridge_.add(one) ? 1 : 0;
  EXPECT_EQ(taken, most_devices - 2) << "the bridge and the first";
  EXPECT_EQ(get(31, reg_bar0 + 4), windows_.low.value + 30 * 0x1000);
  PciWindows small = windows_;
  small.low_bytes = 0x800;
  HostBridge other(small, [](u32, bool) {});
  EXPECT_FALSE(other.add(more.back()));
}

TEST_F(Pci, GoesOnFromAState) {
  bridge_.write_port(address_port, 0x8000'0810, 4);
  set(1, reg_command, command_master, 2);
  HostBridge other(windows_, [](u32, bool) {});
  TestedFunction second;
  ASSERT_TRUE(other.add(second));
  HostBridge::State state = bridge_.state();
  state.address |= 3;
  state.config.written.fill(~0u);
  other.set_state(state);
  EXPECT_EQ(other.state().address, 0x8000'0810u);
  EXPECT_EQ(other.read(windows_.ecam + reg_class, 4).value() >> 8, 0x06'0000u) << "fixed bits stay";
  second.config().set_state(function_.config().state());
  EXPECT_FALSE(second.config().bar_base(1));
  EXPECT_EQ(other.read_port(data_port, 4), windows_.low.value & 0) << "BAR 0";
}

TEST(PciMap, IsAboveAllElseAndReservesEcam) {
  MemoryMap map = *make_memory_map(u64{4096} << 20, u64{64} << 20, 46);
  const MemoryMap before = map;
  ASSERT_TRUE(add_pci(map, 46));
  EXPECT_EQ(map.pci->high.value, u64{6} << 30);
  EXPECT_EQ(map.physical_bits, 33u);
  EXPECT_EQ(map.entries.size(), before.entries.size() + 1);
  u64 end = 0;
  for (const MapEntry& entry : map.entries) {
    EXPECT_GE(entry.base.value, end) << "sorted and disjoint";
    end = entry.base.value + entry.bytes;
  }
  EXPECT_THAT(map.entries, ::testing::Contains(MapEntry{map.pci->ecam, map.pci->ecam_bytes, MapType::reserved}));
  MemoryMap narrow = *make_memory_map(u64{512} << 20, 0, 32);
  EXPECT_THAT(add_pci(narrow, 32).error(),
              ::testing::HasSubstr("needs 33 physical address bits; the processor has 32"));
  EXPECT_FALSE(narrow.pci);
}

class MsixTest : public ::testing::Test {
 protected:
  void entry(unsigned vector, u32 data, u32 control = 0) {
    msix_.write(vector * 16, 0xfee0'3000, 4);
    msix_.write(vector * 16 + 4, 0, 4);
    msix_.write(vector * 16 + 8, data, 4);
    msix_.write(vector * 16 + 12, control, 4);
  }
  std::vector<unsigned> sent() {
    std::vector<unsigned> vectors;
    for (const auto& m : std::exchange(sent_, {})) vectors.push_back(m.vector);
    return vectors;
  }
  std::vector<InterruptMessage> sent_;
  Msix msix_{3, [this](const InterruptMessage& m) { sent_.push_back(m); }};
};

TEST_F(MsixTest, SendsMessages) {
  entry(1, 0x45);
  msix_.signal(1);
  EXPECT_THAT(sent(), IsEmpty()) << "it is off";
  EXPECT_EQ(msix_.read(Msix::pending_offset, 8), 0u);
  msix_.control(Msix::control_enable);
  msix_.signal(1);
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].destination, 3u);
  EXPECT_FALSE(sent_[0].logical);
  EXPECT_FALSE(sent_[0].level);
  EXPECT_THAT(sent(), ElementsAre(0x45));
}

TEST_F(MsixTest, MaskedOnesWait) {  // 6.1.4.6
  EXPECT_EQ(msix_.read(12, 4), 1u) << "masked at first";
  entry(0, 0x40, 1);
  entry(1, 0x41);
  msix_.control(Msix::control_enable | Msix::control_mask);
  for (unsigned i = 0; i < 3; ++i) {
    msix_.signal(0);
    msix_.signal(1);
  }
  msix_.signal(3);  // there is none
  EXPECT_THAT(sent(), IsEmpty());
  EXPECT_EQ(msix_.read(Msix::pending_offset, 8), 3u);
  msix_.control(Msix::control_enable);
  EXPECT_THAT(sent(), ElementsAre(0x41));
  EXPECT_EQ(msix_.read(Msix::pending_offset, 4), 1u);
  msix_.write(8, 0x50, 4);
  msix_.write(12, 0, 4);
  EXPECT_THAT(sent(), ElementsAre(0x50)) << "as the entry is when it is sent";
  EXPECT_EQ(msix_.read(Msix::pending_offset, 4), 0u);
}

TEST_F(MsixTest, TheTableIsMemory) {
  msix_.write(16, 0x1234'5678'9abc'def3, 8);
  msix_.write(24, 0xffff'ffff'0000'0099, 8);
  EXPECT_EQ(msix_.read(16, 8), 0x1234'5678'9abc'def0u);
  EXPECT_EQ(msix_.read(20, 4), 0x1234'5678u);
  EXPECT_EQ(msix_.read(24, 8), 0x1'0000'0099u) << "of the control word there is one bit";
  msix_.write(16, 0, 2);
  msix_.write(18, 0, 4);
  msix_.write(Msix::pending_offset, 0xff, 4);
  msix_.write(48, ~0u, 4);
  EXPECT_EQ(msix_.read(16, 4), 0x9abc'def0u);
  EXPECT_EQ(msix_.read(16, 1), 0u);
  EXPECT_EQ(msix_.read(48, 4), 0u);
  EXPECT_EQ(msix_.read(Msix::pending_offset, 4), 0u);
  msix_.control(Msix::control_enable);
  msix_.write(28, 0, 4);
  msix_.signal(1);
  EXPECT_THAT(sent(), IsEmpty()) << "no local APIC is there";
}

TEST_F(MsixTest, AStateOfAnotherNumberOfVectorsIsNone) {
  Msix::State state = msix_.state();
  state.table.resize(4);
  EXPECT_FALSE(msix_.set_state(state));
  state.table.resize(3);
  state.pending = 8;
  EXPECT_FALSE(msix_.set_state(state));
  state.pending = 4;
  EXPECT_TRUE(msix_.set_state(state));
  EXPECT_EQ(msix_.state(), state);
}

TEST(PciMessage, IsOfTheLocalApics) {  // SDM vol. 3A, 11.11.1 and 11.11.2
  const auto message = message_of(0xfee1'2004, 0x81a5);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->destination, 0x12u);
  EXPECT_TRUE(message->logical);
  EXPECT_EQ(message->delivery, 1);
  EXPECT_EQ(message->vector, 0xa5);
  EXPECT_TRUE(message->level);
  EXPECT_FALSE(message_of(0xfed0'0000, 0));
  EXPECT_FALSE(message_of(0x1'fee0'0000, 0));
}

/// Whatever a guest writes, nothing breaks, and the fixed bits stay.
TEST_F(Pci, AnyAccessIsAnswered) {
  std::mt19937_64 random(1);
  constexpr std::array<unsigned, 4> sizes{1, 2, 4, 8};
  for (int i = 0; i < 100'000; ++i) {
    const u64 choice = random();
    const unsigned size = sizes[choice >> 8 & 3];
    const u64 offset = (choice >> 16 & 0xfff) / size * size;
    const arch::Gpa at = ecam(choice >> 32 & 3, static_cast<u16>(offset));
    const u16 port = static_cast<u16>(address_port + (offset & 7));
    switch (choice & 3) {
      case 0: bridge_.write(at, random(), size); break;
      case 1: EXPECT_TRUE(bridge_.read(at, size)); break;
      case 2: bridge_.write_port(port, static_cast<u32>(random()), std::min(size, 4u)); break;
      default: bridge_.read_port(port, std::min(size, 4u)); break;
    }
  }
  EXPECT_EQ(get(1, reg_id), 0x5678'1234u);
}

}  // namespace
}  // namespace cloister::platform::pci
