// Interfaces on a bridge of the kernel's, in a network of the test's own: frames, and what is left to the kernel of
// them (linux/virtio_net.h). Each other end is such an interface, too.
#include "hypervisor/devices/tap.hpp"

#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>

#include "host/tap_interface.hpp"

namespace cloister::hypervisor {
namespace {

using namespace platform::virtio;
using Bytes = std::vector<u8>;
using Mac = std::array<u8, 6>;

constexpr Mac here{2, 0, 0, 0, 0, 1}, there{2, 0, 0, 0, 0, 2};
constexpr u16 experimental = 0x88b5, ipv4 = 0x0800;  // IEEE 802, for local use: nobody else's frames
constexpr u8 tcp = 6;
constexpr std::size_t ip_at = 14, protocol_at = 23, tcp_at = 34, data_at = 54;

void put(Bytes& bytes, std::size_t at, u16 value) {
  bytes[at] = static_cast<u8>(value >> 8);
  bytes[at + 1] = static_cast<u8>(value);
}

/// RFC 1071, of bytes from `at` on and what has been summed up.
u16 sum(const Bytes& bytes, std::size_t at, std::size_t end, u32 before = 0) {
  for (; at < end; at += 2) before += static_cast<u32>(bytes[at] << 8 | (at + 1 < end ? bytes[at + 1] : 0));
  while (before > 0xffff) before = (before & 0xffff) + (before >> 16);
  return static_cast<u16>(before);
}

Bytes frame(u16 type, std::size_t bytes) {
  Bytes frame(bytes);
  std::ranges::copy(there, frame.begin());
  std::ranges::copy(here, frame.begin() + 6);
  put(frame, 12, type);
  for (std::size_t i = ip_at; i < bytes; ++i) frame[i] = static_cast<u8>(i * 7);
  return frame;
}

/// Of TCP's header and data, and what the two addresses add.
u16 pseudo_sum(const Bytes& frame) {
  return sum(frame, ip_at + 12, ip_at + 20, u32{tcp} + static_cast<u32>(frame.size() - tcp_at));
}

/// A segment of TCP's, whose checksum is left to be done.
Bytes segment(std::size_t data) {
  Bytes frame = hypervisor::frame(ipv4, data_at + data);
  const u8 headers[] = {0x45, 0, 0,    0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10,   0,    0,    1, 10, 0, 0, 2,  // IP
                        0x10, 0, 0x20, 0, 0, 0, 0,    1, 0,  0, 0, 1, 0x50, 0x10, 0x10, 0, 0,  0, 0, 0};
  std::ranges::copy(headers, frame.begin() + ip_at);
  put(frame, ip_at + 2, static_cast<u16>(frame.size() - ip_at));
  put(frame, ip_at + 10, static_cast<u16>(~sum(frame, ip_at, tcp_at)));
  put(frame, tcp_at + 16, pseudo_sum(frame));
  return frame;
}
constexpr FrameHeader unsummed{.flags = header_needs_checksum, .checksum_start = tcp_at, .checksum_offset = 16};
constexpr FrameHeader cut_by(u16 bytes) {
  FrameHeader header = unsummed;
  header.gso_type = gso_tcp4;
  header.header_bytes = data_at;
  header.gso_size = bytes;
  return header;
}

/// Up, in the network of the thread that calls.
bool add_bridge(const char* name) {
  const Fd control(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (::ioctl(control.get(), SIOCBRADDBR, name) != 0 || ::ioctl(control.get(), SIOCGIFFLAGS, &request) != 0)
    return false;
  request.ifr_flags |= IFF_UP;
  return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

bool is_there(const std::string& name) {
  const Fd control(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return ::ioctl(control.get(), SIOCGIFINDEX, &request) == 0;
}

class TapTest : public ::testing::Test {
 protected:
  /// On a thread, whose network ends with it.
  static void in_a_network(const std::function<void()>& what) {
    bool possible = false;
    std::jthread([&] {
      possible = ::unshare(CLONE_NEWNET) == 0 && add_bridge("br0") && ::access("/dev/net/tun", R_OK | W_OK) == 0;
      if (possible) what();
    }).join();
    if (!possible) GTEST_SKIP() << "no network of its own, with bridges and TAP interfaces, may be made here";
  }
  static std::shared_ptr<Tap> on_bridge(const Mac& mac, unsigned queues = 1) {
    auto tap = toolstack::open_tap({.bridge = "br0", .guest_mac = mac, .queues = queues});
    EXPECT_TRUE(tap) << tap.error();
    return tap ? *Tap::create(std::move(*tap)) : nullptr;
  }
  static bool has_frame(const Tap& tap) {
    for (unsigned lane = 0; lane < tap.lanes(); ++lane)
      if (!tap.frame(lane).empty()) return true;
    return false;
  }
  struct Come {
    FrameHeader header{};
    Bytes frame{};
    unsigned lane = 0;
  };
  /// The next of such a type: the kernel has frames of its own.
  static Come next(Tap& tap, u16 type) {
    for (unsigned lane = 0; tap.up(); lane = (lane + 1) % tap.lanes()) {
      if (lane == 0 && !has_frame(tap)) tap.wait(~Lanes{0});
      if (tap.frame(lane).empty()) continue;
      const auto bytes = tap.frame(lane);
      Come come{tap.header(lane), Bytes(bytes.size()), lane};
      std::memcpy(come.frame.data(), bytes.data(), bytes.size());
      tap.pop(lane);
      if (come.frame[12] << 8 != (type & 0xff00) || come.frame[13] != (type & 0xff)) continue;
      // A bridge joins a group of IPv4's, and says so some time later.
      if (type != ipv4 || come.frame[protocol_at] == tcp) return come;
    }
    return {};
  }
};

TEST_F(TapTest, FramesBothWays) {
  in_a_network([] {
    const auto one = on_bridge(here), other = on_bridge(there);
    for (const std::size_t bytes : {14, 60, 1514}) {
      const Bytes sent = frame(experimental, bytes);
      ASSERT_TRUE(one->send(0, {}, std::as_bytes(std::span(sent))));
      EXPECT_EQ(next(*other, experimental).frame, sent);
      ASSERT_TRUE(other->send(0, {}, std::as_bytes(std::span(sent))));
      EXPECT_EQ(next(*one, experimental).frame, sent);
    }
    const Bytes longer = frame(experimental, 1600);
    EXPECT_TRUE(one->send(0, {}, std::as_bytes(std::span(longer)))) << "which the bridge does not pass on";
    std::jthread waker([&] { other->wake(); });
    other->wait(0);
  });
}

TEST_F(TapTest, TheKernelDoesWhatIsLeftToIt) {
  in_a_network([] {
    const auto one = on_bridge(here), other = on_bridge(there);
    constexpr u16 each = 1000;
    const Bytes whole = segment(3 * each - 100);
    ASSERT_TRUE(one->send(0, cut_by(each), std::as_bytes(std::span(whole))));
    std::size_t at = data_at;
    for (const std::size_t expected : {each, each, static_cast<u16>(each - 100)}) {
      const auto [header, part, lane] = next(*other, ipv4);
      EXPECT_EQ(header.gso_type, gso_none);
      EXPECT_EQ(header.flags & header_needs_checksum, 0);
      ASSERT_EQ(part.size(), data_at + expected);
      EXPECT_TRUE(std::equal(part.begin() + data_at, part.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)));
      EXPECT_EQ(sum(part, tcp_at, part.size(), pseudo_sum(part)), 0xffff) << "its checksum is right";
      at += expected;
    }
    // Who takes it gets it as it was sent.
    other->take_offloads(all_offloads);
    ASSERT_TRUE(one->send(0, cut_by(each), std::as_bytes(std::span(whole))));
    const auto [header, all, lane] = next(*other, ipv4);
    EXPECT_EQ(header.gso_type, gso_tcp4);
    EXPECT_EQ(header.gso_size, each);
    EXPECT_EQ(header.flags, header_needs_checksum);
    EXPECT_EQ(header.checksum_start, tcp_at);
    EXPECT_EQ(all, whole);
    other->take_offloads(0);
    const Bytes small = segment(100);
    ASSERT_TRUE(one->send(0, unsummed, std::as_bytes(std::span(small))));
    const Bytes summed = next(*other, ipv4).frame;
    EXPECT_EQ(sum(summed, tcp_at, summed.size(), pseudo_sum(summed)), 0xffff);
    // Which the kernel refuses.
    FrameHeader beyond = unsummed;
    beyond.checksum_start = 60'000;
    EXPECT_FALSE(one->send(0, beyond, std::as_bytes(std::span(small))));
    EXPECT_TRUE(one->up());
  });
}

/// What answers a flow comes by the queue that the flow went out by (the kernel's tun_flow_update()).
TEST_F(TapTest, AnswersComeByTheQueueOfTheQuestion) {
  in_a_network([] {
    const auto one = on_bridge(here, 4), other = on_bridge(there);
    ASSERT_EQ(one->lanes(), 4u);
    for (const unsigned lane : {3u, 1u, 0u, 2u}) {
      Bytes asked = segment(100);
      put(asked, tcp_at, static_cast<u16>(0x2000 + lane));  // a port, and so a flow, of its own
      put(asked, tcp_at + 16, pseudo_sum(asked));
      ASSERT_TRUE(one->send(lane, unsummed, std::as_bytes(std::span(asked))));
      Bytes answer = next(*other, ipv4).frame;
      std::swap_ranges(answer.begin(), answer.begin() + 6, answer.begin() + 6);
      std::swap_ranges(answer.begin() + ip_at + 12, answer.begin() + ip_at + 16, answer.begin() + ip_at + 16);
      std::swap_ranges(answer.begin() + tcp_at, answer.begin() + tcp_at + 2, answer.begin() + tcp_at + 2);
      ASSERT_TRUE(other->send(0, {}, std::as_bytes(std::span(answer))));
      EXPECT_EQ(next(*one, ipv4).lane, lane);
    }
  });
}

TEST_F(TapTest, IsThereAsLongAsItsDescriptor) {
  in_a_network([] {
    const auto tried = [](const char* bridge, const char* name) {
      const auto tap = toolstack::open_tap({.bridge = bridge, .name = name, .guest_mac = here});
      return tap ? std::string() : tap.error();
    };
    EXPECT_EQ(tried("br1", ""), "there is no bridge 'br1'");
    EXPECT_EQ(tried("lo", ""), "'lo' is an interface, expected a bridge");
    EXPECT_FALSE(is_there("cloister0"));
    auto tap = toolstack::open_tap({.bridge = "br0", .name = "vif1.0", .guest_mac = here});
    ASSERT_TRUE(tap) << tap.error();
    EXPECT_TRUE(toolstack::is_tap(tap->front().get()));
    EXPECT_TRUE(is_there("vif1.0"));
    EXPECT_EQ(tried("br0", "vif1.0"), "there is an interface 'vif1.0' already");
    tap->clear();
    EXPECT_FALSE(is_there("vif1.0"));
    EXPECT_EQ(tried("br0", "vif1.0"), "");
    auto several = toolstack::open_tap({.bridge = "br0", .name = "vif1.0", .guest_mac = here, .queues = 3});
    ASSERT_TRUE(several) << several.error();
    ASSERT_EQ(several->size(), 3u);
    EXPECT_EQ(tried("br0", "vif1.0"), "there is an interface 'vif1.0' already");
    several->erase(several->begin());
    EXPECT_TRUE(is_there("vif1.0")) << "as long as the last of them";
    several->clear();
    EXPECT_FALSE(is_there("vif1.0"));
    const Fd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_FALSE(toolstack::is_tap(other.get()));
  });
}

}  // namespace
}  // namespace cloister::hypervisor
