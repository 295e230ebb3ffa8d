// A domain under a debugger, over its Unix socket: stops, breakpoints, steps, memory, and the end.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "guests.hpp"
#include "hypervisor/gdb/packet.hpp"
#include "silicon/silicon.hpp"

asm(R"(
  .pushsection .rodata
  .code32
  .global guest_debugged, guest_debugged_end
guest_debugged:
  .byte 0xeb, 0xfe              # 0x100000: JMP to itself, until the debugger moves RIP on
  mov $0x11223344, %eax         # 0x100002
  cpuid                         # 0x100007: exits, and is completed by the hypervisor
  nop                           # 0x100009
  mov $0x605, %dx               # 0x10000a
  mov $0x34, %al
  out %al, %dx
guest_debugged_end:
  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(debugged)

class Client {
 public:
  explicit Client(int listener) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), size), 0);
  }
  ~Client() { ::close(socket_); }
  void send(const std::string& payload) {
    const std::string bytes = gdb::frame(payload);
    EXPECT_EQ(::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void interrupt() { EXPECT_EQ(::send(socket_, "\x03", 1, MSG_NOSIGNAL), 1); }
  /// The next packet; empty if the server is gone.
  std::string next() {
    for (;;) {
      while (const auto received = reader_.next())
        if (received->kind == gdb::Received::Kind::packet) return received->payload;
      char bytes[4096];
      const ssize_t n = ::recv(socket_, bytes, sizeof bytes, 0);
      if (n <= 0) return {};
      reader_.feed(std::string_view(bytes, static_cast<std::size_t>(n)));
    }
  }
  std::string ask(const std::string& payload) {
    send(payload);
    return next();
  }

 private:
  int socket_;
  gdb::PacketReader reader_;
};

class Debugged : public testing::Test {
 protected:
  Debugged() : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    // At a name of the kernel's own (unix(7), "Autobind feature").
    const sockaddr address{.sa_family = AF_UNIX, .sa_data = {}};
    EXPECT_EQ(::bind(listener_, &address, sizeof(sa_family_t)), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    domain_ = std::move(*Domain::create(package_, spec_of(debugged(), silicon::ClockMode::host), {}));
    RunOptions options;
    options.gdb_listener = listener_;
    options.timeout = std::chrono::seconds(60);
    thread_ = std::jthread([this, options] { outcome_ = domain_->run(options); });
  }
  ~Debugged() override {
    if (thread_.joinable()) thread_.join();
    ::close(listener_);
  }
  Outcome end() {
    thread_.join();
    return outcome_;
  }
  static std::string number(u64 value) {
    return gdb::to_hex(std::span(reinterpret_cast<const u8*>(&value), sizeof value));
  }

  static constexpr const char *rip = "p10", *set_rip = "P10=";
  silicon::Package package_{silicon::Package::Config{}};
  std::unique_ptr<Domain> domain_;
  int listener_;
  Outcome outcome_;
  std::jthread thread_;
};

TEST_F(Debugged, StopsStepsBreaksAndGoesOn) {
  Client client(listener_);
  EXPECT_EQ(client.ask("?"), "T05thread:1;") << "the guest stops when a debugger comes";
  EXPECT_EQ(client.ask(rip), number(0x100000));
  client.send("c");
  client.interrupt();
  EXPECT_EQ(client.next(), "T02thread:1;");

  EXPECT_EQ(client.ask(set_rip + number(0x100002)), "OK");
  EXPECT_EQ(client.ask("s"), "T05thread:1;");
  EXPECT_EQ(client.ask(rip), number(0x100007));
  EXPECT_EQ(client.ask("p0"), number(0x11223344));
  EXPECT_EQ(client.ask("s"), "T05thread:1;");
  EXPECT_EQ(client.ask(rip), number(0x100009)) << "a step over an instruction that exits is one step";

  EXPECT_EQ(client.ask("Z0,10000a,1"), "OK");
  EXPECT_EQ(client.ask("m10000a,1"), "66") << "the debugger does not see its own INT3";
  EXPECT_EQ(client.ask("c"), "T05thread:1;");
  EXPECT_EQ(client.ask(rip), number(0x10000a));
  EXPECT_EQ(client.ask("z0,10000a,1"), "OK");
  EXPECT_EQ(client.ask("c"), "W00");
  EXPECT_EQ(end().ending, Ending::powered_off);
}

TEST_F(Debugged, ACrashIsShownBeforeTheEnd) {
  Client client(listener_);
  EXPECT_EQ(client.ask("M100000,2:0f0b"), "OK");  // UD2
  EXPECT_EQ(client.ask("c"), "T0bthread:1;");
  EXPECT_EQ(client.ask(rip), number(0x100000));
  EXPECT_EQ(client.ask("c"), "W01");
  EXPECT_EQ(end().ending, Ending::crashed);
}

TEST_F(Debugged, LeavingRemovesBreakpointsAndLetsTheGuestRun) {
  {
    Client client(listener_);
    EXPECT_EQ(client.ask("Z0,10000a,1"), "OK");
    EXPECT_EQ(client.ask(set_rip + number(0x100002)), "OK");
    EXPECT_EQ(client.ask("D"), "OK");
  }
  EXPECT_EQ(end().ending, Ending::powered_off);
}

TEST_F(Debugged, KillEndsTheDomain) {
  Client client(listener_);
  EXPECT_EQ(client.ask("?"), "T05thread:1;");
  client.send("k");
  EXPECT_EQ(end().ending, Ending::stopped);
}

}  // namespace
}  // namespace cloister::hypervisor
