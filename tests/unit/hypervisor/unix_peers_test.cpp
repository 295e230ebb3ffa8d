// Peers by Unix sockets (hypervisor/devices/unix_peers.hpp), and the process that connects for them
// (host/vsock_connector.hpp).
#include "hypervisor/devices/unix_peers.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "host/unix_socket.hpp"
#include "host/vsock_connector.hpp"

namespace cloister::hypervisor {
namespace {

namespace fs = std::filesystem;
using platform::virtio::Peers;
using Peer = platform::virtio::Peer;

class UnixPeersTest : public ::testing::Test {
 protected:
  UnixPeersTest() {
    std::string name = (fs::temp_directory_path() / "peers-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    folder_ = Fd(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    auto connector = start_connector(path_ + "/vsock");
    EXPECT_TRUE(connector) << connector.error();
    peers_ = *UnixPeers::create(listen("vsock"), std::move(*connector));
  }
  ~UnixPeersTest() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Fd listen(const std::string& name) const {
    auto socket = toolstack::listen_at(folder_.get(), name, SOCK_STREAM, 0600, path_);
    EXPECT_TRUE(socket) << socket.error();
    return std::move(*socket);
  }
  Fd connect() const {
    Fd socket = toolstack::connect_to(path_ + "/vsock", SOCK_STREAM);
    EXPECT_TRUE(socket);
    return socket;
  }
  static void say(const Fd& socket, std::string_view text) {
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  /// What has been said there, up to its end or a pause.
  static std::string hear(const Fd& socket) {
    std::string text(4096, '\0');
    const ssize_t got = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return text;
  }
  static bool has_ended(const Fd& socket) {
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }
  /// Waits until `what` answers something.
  template <class What>
  auto wait_for(What what) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      if (auto found = what(); found || std::chrono::steady_clock::now() > end) return found;
      peers_->wait(Peers::Wait::for_a_look);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  auto next_call() {
    return wait_for([this] { return peers_->next_call(); });
  }
  auto next_answer() {
    return wait_for([this] { return peers_->next_answer(); });
  }
  /// Looks again and again that nothing has come of it.
  bool nobody_calls() {
    for (int i = 0; i < 20; ++i) peers_->wait(Peers::Wait::for_a_look);
    return !peers_->next_call();
  }
  std::string received(Peer& peer) {
    peer.want({.bytes = true});
    wait_for([&] { return peer.ready(); });
    std::array<std::byte, 100> bytes{};
    const auto got = peer.receive(bytes);
    return got ? std::string(reinterpret_cast<const char*>(bytes.data()), *got) : "(end)";
  }

  std::string path_;
  Fd folder_;
  std::shared_ptr<UnixPeers> peers_;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST_F(UnixPeersTest, AProgramCalls) {
  const Fd program = connect();
  say(program, "CONNE");
  EXPECT_TRUE(nobody_calls());
  say(program, "CT 22\nearly");
  const auto call = next_call();
  ASSERT_TRUE(call);
  EXPECT_EQ(call->port, 22u);
  EXPECT_EQ(hear(program), "") << "before the guest has answered";
  EXPECT_FALSE(call->from->ready());
  EXPECT_TRUE(call->from->answered(1234));
  EXPECT_EQ(hear(program), "OK 1234\n");
  EXPECT_EQ(received(*call->from), "early");
  EXPECT_EQ(call->from->send(bytes_of("late")), 4u);
  EXPECT_EQ(hear(program), "late");
  std::array<std::byte, 10> none{};
  EXPECT_EQ(call->from->receive(none), 0u);
  EXPECT_FALSE(call->from->ready());

  call->from->end_sending();
  EXPECT_TRUE(has_ended(program));
  EXPECT_FALSE(call->from->gone());
  ::shutdown(program.get(), SHUT_WR);
  EXPECT_EQ(received(*call->from), "(end)");
  EXPECT_TRUE(call->from->gone()) << "both directions have ended";
}

TEST_F(UnixPeersTest, AProgramThatHasGone) {
  Fd program = connect();
  say(program, "CONNECT 22\n");
  const auto call = next_call();
  ASSERT_TRUE(call);
  EXPECT_FALSE(call->from->gone());
  program = Fd();
  EXPECT_TRUE(call->from->gone());
  EXPECT_FALSE(call->from->answered(1));
  EXPECT_EQ(call->from->send(bytes_of("x")), std::nullopt);
  EXPECT_EQ(received(*call->from), "(end)");
}

TEST_F(UnixPeersTest, WhatTheKernelHasNoRoomForWaits) {
  const Fd program = connect();
  say(program, "CONNECT 22\n");
  const auto call = next_call();
  ASSERT_TRUE(call);
  const std::string much(1 << 20, 'x');
  std::size_t sent = 0;
  for (;;) {
    const auto some = call->from->send(bytes_of(much));
    ASSERT_TRUE(some);
    if (*some == 0) break;
    sent += *some;
  }
  std::size_t heard = 0;
  for (std::string some = hear(program); !some.empty(); some = hear(program)) heard += some.size();
  EXPECT_EQ(heard, sent);
  EXPECT_GT(*call->from->send(bytes_of(much)), 0u);
}

TEST_F(UnixPeersTest, WhoSaysAnythingElseIsCutOff) {
  for (const std::string_view text :
       {"connect 22\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 22 \n",
        "CONNECT 4294967296\n", "GET / HTTP/1.1\r\n", "\n", "CONNECT 000000000000000000000000000000000000000022"}) {
    const Fd program = connect();
    say(program, text);
    EXPECT_TRUE(wait_for([&] { return has_ended(program); })) << text;
    EXPECT_FALSE(peers_->next_call()) << text;
  }
  const Fd program = connect();
  say(program, "CONNECT 4294967295\n");
  EXPECT_EQ(next_call()->port, ~0u);
}

TEST_F(UnixPeersTest, WhoSaysNothingHoldsNobodyUp) {
  std::vector<Fd> silent;
  for (std::size_t i = 0; i <= UnixPeers::most_callers; ++i) silent.push_back(connect());
  EXPECT_TRUE(wait_for([&] { return has_ended(silent.front()); })) << "the one that has been silent the longest";
  EXPECT_FALSE(has_ended(silent.back()));
  const Fd program = connect();
  say(program, "CONNECT 22\n");
  EXPECT_TRUE(next_call());
}

TEST_F(UnixPeersTest, CallsThatNobodyTakesWait) {
  std::vector<Fd> programs;
  for (std::size_t i = 0; i < 3 * UnixPeers::most_callers; ++i) {
    programs.push_back(connect());
    say(programs.back(), "CONNECT 22\n");
  }
  std::vector<Peers::Call> taken;
  const auto all_have_an_end = [&] {
    while (auto call = peers_->next_call()) taken.push_back(std::move(*call));
    return taken.size() + static_cast<std::size_t>(std::ranges::count_if(programs, has_ended)) == programs.size();
  };
  EXPECT_TRUE(wait_for(all_have_an_end));
  EXPECT_GE(taken.size(), UnixPeers::most_callers);
}

TEST_F(UnixPeersTest, TheGuestCalls) {
  const Fd listening = listen("vsock_50");
  const auto number = peers_->ask(50);
  ASSERT_TRUE(number);
  auto answer = next_answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->number, *number);
  ASSERT_NE(answer->peer, nullptr);
  const Fd program(::accept(listening.get(), nullptr, nullptr));
  EXPECT_EQ(answer->peer->send(bytes_of("hello")), 5u);
  EXPECT_EQ(hear(program), "hello");
  say(program, "and you");
  EXPECT_EQ(received(*answer->peer), "and you");
  answer->peer.reset();
  EXPECT_TRUE(has_ended(program));
}

TEST_F(UnixPeersTest, QuestionsWithoutAnAnswerAreBounded) {
  const Fd listening = listen("vsock_50");
  constexpr std::size_t most = platform::virtio::Vsock::most_connections;
  std::size_t asked = 0;
  while (asked <= most && peers_->ask(50)) ++asked;
  EXPECT_LE(asked, most);
  EXPECT_GT(asked, 0u);
  ASSERT_TRUE(next_answer());
  EXPECT_TRUE(peers_->ask(50)) << "one less";
}

TEST_F(UnixPeersTest, ADescriptorMoreThanOneIsNotTaken) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Fd ours(ends[0]), its(ends[1]);
  const int two[] = {STDIN_FILENO, STDIN_FILENO};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof two)> beside{};
  ConnectorMessage message{.number = 1, .port = 1};
  iovec bytes{.iov_base = &message, .iov_len = sizeof message};
  msghdr packet{};
  packet.msg_iov = &bytes;
  packet.msg_iovlen = 1;
  packet.msg_control = beside.data();
  packet.msg_controllen = beside.size();
  cmsghdr* const head = CMSG_FIRSTHDR(&packet);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof two);
  std::memcpy(CMSG_DATA(head), two, sizeof two);
  ASSERT_EQ(::sendmsg(its.get(), &packet, 0), ssize_t{sizeof message});
  const auto open = [] { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); };
  const auto before = open();
  {
    Fd socket;
    EXPECT_EQ(receive_from_connector(ours.get(), message, socket), true);
    EXPECT_LE(open() - before, 1);
  }
  EXPECT_EQ(open(), before);
}

TEST_F(UnixPeersTest, NobodyListens) {
  (void)listen("vsock_51");  // and has gone
  std::ofstream(path_ + "/vsock_52") << "no socket";
  for (const u32 port : {50u, 51u, 52u}) {
    const auto number = peers_->ask(port);
    ASSERT_TRUE(number);
    const auto answer = next_answer();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->number, *number);
    EXPECT_EQ(answer->peer, nullptr) << port;
  }
}

TEST_F(UnixPeersTest, WhoDoesNotAcceptHoldsNobodyUp) {
  const Fd listening = listen("vsock_50");
  ASSERT_EQ(::listen(listening.get(), 0), 0);
  unsigned refused = 0;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(peers_->ask(50));
    const auto answer = next_answer();
    ASSERT_TRUE(answer) << i;
    refused += answer->peer == nullptr ? 1 : 0;
  }
  EXPECT_GE(refused, 3u) << "its backlog is full";
}

TEST_F(UnixPeersTest, TheConnectorEndsWithItsConnection) {
  auto connector = start_connector(path_ + "/other");
  ASSERT_TRUE(connector);
  ConnectorMessage message{.number = 5, .port = 1};
  ASSERT_EQ(::send(connector->get(), &message, sizeof message, 0), ssize_t{sizeof message});
  Fd socket;
  const auto answered = [&] { return receive_from_connector(connector->get(), message, socket); };
  EXPECT_EQ(wait_for(answered), true);
  EXPECT_EQ(message.number, 5u);
  EXPECT_FALSE(socket);
  // What is no message of its own ends it.
  ASSERT_EQ(::send(connector->get(), "x", 1, 0), 1);
  EXPECT_EQ(wait_for(answered), false);
}

TEST_F(UnixPeersTest, WithoutAConnectorNobodyListens) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  Fd other(ends[1]);
  peers_ = *UnixPeers::create(listen("again"), Fd(ends[0]));
  const auto number = peers_->ask(50);
  ASSERT_TRUE(number);
  other = Fd();
  const auto answer = next_answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->number, *number);
  EXPECT_EQ(answer->peer, nullptr);
  EXPECT_FALSE(peers_->ask(50));
  peers_ = *UnixPeers::create(listen("third"), Fd());
  EXPECT_FALSE(peers_->ask(50));
}

TEST_F(UnixPeersTest, WhoWaitsIsWoken) {
  for (const auto how : {Peers::Wait::for_all, Peers::Wait::for_nothing}) {
    std::jthread waits([&] { peers_->wait(how); });
    peers_->wake();
  }
  const Fd program = connect();
  say(program, "CONNECT 22\n");
  std::jthread waits([&] { peers_->wait(Peers::Wait::for_nothing); });
  peers_->wake();
  waits.join();
  EXPECT_FALSE(peers_->next_call()) << "nobody has looked";
  EXPECT_TRUE(next_call());
}

}  // namespace
}  // namespace cloister::hypervisor
