// A guest that finds a network interface on the PCI bus, drives it as virtio 1.2 says, and is saved in the middle of
// it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "guests.hpp"
#include "silicon/silicon.hpp"
#include "unit/platform/wire_in_memory.hpp"

// It sends 40 frames, each with another byte in it, and prints what is in the answers. Its interface is device 1, whose
// structures it moves below 4 GiB first.
asm(R"(
  .pushsection .rodata
  .code32

  .set net_device, 0xe0008000
  .set net_common, 0xd0000000
  .set net_notify, 0xd0003000
  .set net_in, 0x20000
  .set net_out, 0x24000
  .set net_received, 0x28000
  .set net_sent, 0x29000

  .macro net_queue number, at
    movw $\number, net_common + 0x16
    movw $8, net_common + 0x18
    movl $\at, net_common + 0x20
    movl $\at + 0x1000, net_common + 0x28
    movl $\at + 0x2000, net_common + 0x30
    movw $1, net_common + 0x1c
  .endm

  .global guest_net_user, guest_net_user_end
  .balign 16
guest_net_user:
    mov $0x80000, %esp
    cmpl $0x10411af4, net_device
    jne net_user_failed
    movl $0xd0000000, net_device + 0x20     # BAR 4
    movl $0, net_device + 0x24
    movw $6, net_device + 4                 # memory, bus master
    movb $0, net_common + 0x14
    movb $3, net_common + 0x14
    movl $1, net_common + 0x08
    movl $1, net_common + 0x0c              # VERSION_1
    movb $11, net_common + 0x14
    testb $8, net_common + 0x14
    jz net_user_failed
    net_queue 0, net_in
    net_queue 1, net_out
    movb $15, net_common + 0x14
    movl $net_received, net_in
    movl $2048, net_in + 8
    movl $2, net_in + 12                    # written by the device
    movl $net_sent, net_out
    movl $12 + 60, net_out + 8
    movl $0, net_out + 12
    xor %ebx, %ebx
net_user_frame:
    lea 'A'(%ebx), %eax
    mov %al, net_sent + 12 + 14
    incw net_in + 0x1002
    movw $0, net_notify
    incw net_out + 0x1002
    movw $1, net_notify + 4
2:  mov net_out + 0x1002, %ax
    cmp net_out + 0x2002, %ax
    jne 2b
2:  mov net_in + 0x1002, %ax
    cmp net_in + 0x2002, %ax
    jne 2b
    mov net_received + 12 + 14, %al
    mov $0x3f8, %dx
    out %al, %dx
    inc %ebx
    cmp $40, %ebx
    jne net_user_frame
net_user_end:
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
1:  hlt
    jmp 1b
net_user_failed:
    mov $'?', %al
    mov $0x3f8, %dx
    out %al, %dx
    jmp net_user_end
guest_net_user_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(net_user)

using platform::virtio::WireInMemory;
using Bytes = std::vector<u8>;
constexpr std::size_t data_at = 14, frames = 40;

class Interface : public testing::Test {
 protected:
  /// A wire that answers each frame with the same, but for a letter that is small.
  static std::shared_ptr<WireInMemory> echo() {
    auto wire = std::make_shared<WireInMemory>();
    wire->answer = [wire = wire.get()](const WireInMemory::Frame& frame) {
      wire->come.push_back(frame);
      wire->come.back()[data_at] |= std::byte{0x20};
    };
    return wire;
  }
  DomainSpec spec(vmx::ClockMode clock = vmx::ClockMode::deterministic) const {
    DomainSpec spec = spec_of(net_user(), clock);
    EXPECT_TRUE(platform::add_pci(spec.map, 40));
    spec.interfaces.push_back({.wire = wire_, .mac = {2, 0, 0, 0, 0, 1}});
    return spec;
  }
  RunOptions options() {
    RunOptions options;
    options.timeout = std::chrono::seconds(120);
    options.console_out = [this](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
    options.note = [this](std::string_view what) { notes_ += std::string(what) + "\n"; };
    return options;
  }
  static std::string expected() {
    std::string text(frames, 'a');
    for (std::size_t i = 0; i < frames; ++i) text[i] = static_cast<char>(('A' + i) | 0x20);
    return text;
  }

  std::shared_ptr<WireInMemory> wire_ = echo();
  silicon::Package package_{silicon::Package::Config{}};
  std::string console_, notes_;
};

TEST_F(Interface, SendsAndReceives) {
  for (const auto clock : {vmx::ClockMode::deterministic, vmx::ClockMode::host}) {
    console_.clear();
    const auto domain = Domain::create(package_, spec(clock), {});
    ASSERT_TRUE(domain) << domain.error();
    const Outcome outcome = (*domain)->run(options());
    EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
    EXPECT_EQ(console_, expected());
  }
  EXPECT_EQ(wire_->gone.size(), 2 * frames);
  EXPECT_EQ(notes_, "");
}

// A wire that says nothing holds nobody up: neither who pauses the domain, nor who ends it.
TEST_F(Interface, ASilentWireStopsNobody) {
  wire_->answer = {};
  const auto domain = Domain::create(package_, spec(vmx::ClockMode::host), {});
  ASSERT_TRUE(domain) << domain.error();
  std::atomic<bool> stop = false;
  RunOptions how = options();
  how.stop = &stop;
  Outcome outcome;
  std::jthread runner([&] { outcome = (*domain)->run(how); });
  while (wire_->waits == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  (*domain)->pause();
  wire_->is_up = false;
  const unsigned waits = wire_->waits;
  (*domain)->unpause();
  while (wire_->waits == waits) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  stop = true;
  runner.join();
  EXPECT_EQ(outcome.ending, Ending::stopped);
  EXPECT_EQ(notes_, "the link of its network interface 0 is down\n");
}

/// So that bridges learn where its address is (RFC 903); once, and before anything of its own.
TEST_F(Interface, SaysWhereItIsWhenItGoesOnElsewhere) {
  std::atomic<bool> stop = true;
  RunOptions how = options();
  how.stop = &stop;
  wire_->answer = {};
  const auto first = Domain::create(package_, spec(vmx::ClockMode::host), {});
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ((*first)->run(how).ending, Ending::stopped);
  wire_->gone.clear();
  Bytes saved;
  const auto done = (*first)->save([&saved](std::span<const u8> more) -> stream::Result<void> {
    saved.insert(saved.end(), more.begin(), more.end());
    return {};
  });
  ASSERT_TRUE(done) << done.error();
  std::span<const u8> rest = saved;
  const auto second = Domain::restore(package_, spec(vmx::ClockMode::host), {}, [&rest](std::span<u8> to) {
    const std::size_t n = std::min(to.size(), rest.size());
    std::copy_n(rest.begin(), n, to.begin());
    rest = rest.subspan(n);
    return stream::Result<std::size_t>(n);
  });
  ASSERT_TRUE(second) << second.error();
  for (int i = 0; i < 2; ++i) EXPECT_EQ((*second)->run(how).ending, Ending::stopped);
  ASSERT_FALSE(wire_->gone.empty());
  EXPECT_EQ(std::ranges::count(wire_->gone, wire_->gone.front()), 1);
  std::string frame;
  for (const std::byte byte : wire_->gone.front()) frame += fmt::format("{:02x}", static_cast<unsigned>(byte));
  std::string mac;
  const DomainSpec domain = spec();
  for (const u8 byte : domain.interfaces.front().mac) mac += fmt::format("{:02x}", byte);
  const std::string none(8, '0');
  EXPECT_EQ(frame, "ffffffffffff" + mac + "8035" + "0001" + "0800" + "06" + "04" + "0003" + mac + none + mac + none +
                       std::string(36, '0'));
}

TEST_F(Interface, IsSavedWithTheDomain) {
  for (u64 at = 1; at < 20; at += 3) {
    console_.clear();
    const auto first = Domain::create(package_, spec(), {});
    ASSERT_TRUE(first) << first.error();
    Bytes saved;
    RunOptions how = options();
    how.turn_alone = 20;
    how.after_turns = [&, round = u64{0}]() mutable {
      if (++round != at) return true;
      const auto done = (*first)->save([&saved](std::span<const u8> more) -> stream::Result<void> {
        saved.insert(saved.end(), more.begin(), more.end());
        return {};
      });
      EXPECT_TRUE(done) << done.error();
      return false;
    };
    (*first)->run(how);
    std::span<const u8> rest = saved;
    const auto source = [&rest](std::span<u8> to) -> stream::Result<std::size_t> {
      const std::size_t n = std::min(to.size(), rest.size());
      std::copy_n(rest.begin(), n, to.begin());
      rest = rest.subspan(n);
      return n;
    };
    const auto second = Domain::restore(package_, spec(), {}, source);
    ASSERT_TRUE(second) << second.error();
    EXPECT_EQ((*second)->run(options()).ending, Ending::powered_off);
    EXPECT_EQ(console_, expected()) << "saved after round " << at;

    DomainSpec without = spec();
    without.interfaces.clear();
    rest = saved;
    EXPECT_FALSE(Domain::restore(package_, without, {}, source)) << "it has no interface";
  }
}

TEST_F(Interface, NeedsABus) {
  DomainSpec without = spec();
  without.map.pci.reset();
  EXPECT_EQ(Domain::create(package_, without, {}).error(), "a network interface needs a PCI bus");
}

}  // namespace
}  // namespace cloister::hypervisor
