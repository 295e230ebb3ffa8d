// passt as it is on this host: that it starts, carries frames, and ends; and what of the host a guest reaches by it.
#include "host/passt.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "hypervisor/devices/frame_stream.hpp"
#include "plan/interfaces.hpp"

namespace cloister::toolstack {
namespace {

using hypervisor::FrameStream;
using ::testing::HasSubstr;
using Frame = std::vector<std::byte>;

constexpr std::array<u8, 6> guest_mac{2, 0x11, 0x22, 0x33, 0x44, 0x55};

/// A server on the host's loopback, and nobody who has connected to it yet.
class Server {
 public:
  Server() : listening_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t bytes = sizeof at;
    auto* const address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(listening_.get(), address, bytes), 0);
    EXPECT_EQ(::listen(listening_.get(), 1), 0);
    EXPECT_EQ(::getsockname(listening_.get(), address, &bytes), 0);
    port_ = ntohs(at.sin_port);
  }
  u16 port() const { return port_; }
  bool reached(int within_ms) const {
    pollfd wait{.fd = listening_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, within_ms) > 0;
  }

 private:
  Fd listening_;
  u16 port_ = 0;
};

void append(Frame& frame, std::initializer_list<unsigned> bytes) {
  for (const unsigned byte : bytes) frame.push_back(static_cast<std::byte>(byte));
}

/// A segment with SYN, as a guest may send it to any address.
Frame syn_to(const char* address, u16 port) {
  Frame frame(6, std::byte{0xff});
  for (const u8 byte : guest_mac) append(frame, {byte});
  append(frame, {8, 0});
  Frame ip;
  append(ip, {0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 2, 3});
  in_addr to{};
  EXPECT_EQ(::inet_pton(AF_INET, address, &to), 1);
  const auto four = std::as_bytes(std::span(&to.s_addr, 1));
  ip.insert(ip.end(), four.begin(), four.end());
  unsigned sum = 0;
  for (std::size_t i = 0; i < ip.size(); i += 2)
    sum += std::to_integer<unsigned>(ip[i]) << 8 | std::to_integer<unsigned>(ip[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  ip[10] = static_cast<std::byte>(~sum >> 8);
  ip[11] = static_cast<std::byte>(~sum);
  frame.insert(frame.end(), ip.begin(), ip.end());
  append(frame, {0x9c, 0x40, unsigned{port} >> 8, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0});
  return frame;
}

Frame arp_request() {
  Frame frame(6, std::byte{0xff});
  for (const u8 byte : guest_mac) append(frame, {byte});
  append(frame, {8, 6, 0, 1, 8, 0, 6, 4, 0, 1});
  for (const u8 byte : guest_mac) append(frame, {byte});
  append(frame, {10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 10, 1, 2, 4});
  return frame;
}

class Passt : public testing::Test {
 protected:
  void SetUp() override {
    const auto tried = start_passt(passt_arguments({}));
    if (!tried) GTEST_SKIP() << tried.error();
  }
  static std::shared_ptr<FrameStream> stream(const InterfaceConfig& interface, FrameStream::Host host) {
    auto connection = start_passt(passt_arguments(interface));
    EXPECT_TRUE(connection) << connection.error();
    return *FrameStream::create(std::move(*connection), host);
  }
  static bool reaches(const InterfaceConfig& interface, FrameStream::Host host, const char* address, int within_ms) {
    const Server server;
    const auto wire = stream(interface, host);
    wire->send(0, {}, syn_to(address, server.port()));
    wire->flush();
    return server.reached(within_ms);
  }
};

TEST_F(Passt, CarriesFramesBothWays) {
  const auto wire = stream({}, FrameStream::Host::out_of_reach);
  ASSERT_TRUE(wire->send(0, {}, arp_request()));
  wire->flush();
  while (wire->up()) {
    if (wire->frame(0).empty()) wire->wait(1);
    if (wire->frame(0).empty()) continue;
    const auto frame = wire->frame(0);
    if (frame.size() >= 42 && frame[12] == std::byte{8} && frame[13] == std::byte{6}) break;
    wire->pop(0);
  }
  ASSERT_TRUE(wire->up());
  EXPECT_EQ(wire->frame(0)[21], std::byte{2}) << "a reply";
}

// passt itself connects to whatever address a frame names, its own host's loopback too: that frames for it do not come
// so far is ours to see to.
TEST_F(Passt, TheHostsLoopbackIsOutOfReach) {
  constexpr int long_enough_ms = 10'000, a_moment_ms = 500;
  for (const char* address : {"127.0.0.1", "0.0.0.0"}) {
    EXPECT_TRUE(reaches({}, FrameStream::Host::reached, address, long_enough_ms)) << "the test finds no hole";
    EXPECT_FALSE(reaches({}, FrameStream::Host::out_of_reach, address, a_moment_ms)) << address;
  }
}

TEST_F(Passt, SaysWhatIsWrong) {
  const Server server;
  const InterfaceConfig taken{
      .forwards = {{.udp = false, .address = "127.0.0.1", .host_port = server.port(), .guest_port = 22}}};
  EXPECT_THAT(start_passt(passt_arguments(taken)).error(), HasSubstr(std::to_string(server.port())));
  EXPECT_THAT(start_passt({"--no-such-option"}).error(), HasSubstr("no-such-option"));
}

}  // namespace
}  // namespace cloister::toolstack
