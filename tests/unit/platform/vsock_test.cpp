// Sockets between a guest and its host (virtio 1.2, 5.10), packet by packet, with programs of the test's.
#include "platform/virtio/vsock.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <utility>

#include "unit/platform/peers_in_memory.hpp"
#include "unit/platform/virtio_ring.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 cid = 7, host = 2;
constexpr u32 guest_port = 1000, host_port = 50;
constexpr u64 buffers_at = 0x1'0000, buffer_bytes = 0x1000, sent_at = 0x2'0000;
constexpr u32 its_room = 10'000;

enum Op : u16 { request = 1, response, rst, shutdown, rw, credit_update, credit_request };

struct Packet {  // 5.10.6
  u32 from = 0, from_high = 0, to = 0, to_high = 0, from_port = 0, to_port = 0, bytes = 0;
  u16 type = 1, op = 0;
  u32 flags = 0, room = its_room, forwarded = 0;
};
static_assert(sizeof(Packet) == 44);

struct Received {
  Packet packet;
  std::string data;
};

class VsockTest : public ::testing::Test {
 protected:
  VsockTest() { begin(); }
  void begin(unsigned buffers = Ring::size) {
    ASSERT_TRUE(driver_.negotiate(feature_version_1));
    for (Ring* ring : {&in_, &out_, &events_}) ring->begin();
    driver_.set(common_status, driver_.status() | status_driver_ok, 1);
    seen_ = 0;
    received_.clear();
    for (u16 i = 0; i < buffers; ++i) give(i);
    in_.notify();
    turn();
  }
  void give(u16 number) {
    in_.describe(number,
                 {.address = buffers_at + buffer_bytes * number, .bytes = buffer_bytes, .flags = device_writes});
    in_.offer(number);
  }
  /// All that the device does now; what has come to the guest is in received_, and its buffers are the device's again.
  void turn() {
    for (bool again = true; again;) {
      device_.look();
      for (int i = 0; i < 100 && device_.has_work(); ++i) device_.work();
      device_.prepare_to_wait();
      again = false;
      for (; seen_ != in_.used(); ++seen_) {
        again = true;
        const u16 number = static_cast<u16>(in_.used_id(seen_));
        const u64 at = buffers_at + buffer_bytes * number;
        Received one{.packet = memory_.get<Packet>(at), .data = {}};
        ASSERT_EQ(in_.used_bytes(seen_), sizeof(Packet) + one.packet.bytes);
        const auto data = memory_.bytes().subspan(at + sizeof(Packet), one.packet.bytes);
        one.data.assign(data.begin(), data.end());
        received_.push_back(std::move(one));
        if (!takes_) continue;
        give(number);
        in_.notify();
      }
    }
  }
  Received next() {
    turn();
    if (received_.empty()) return {};
    Received one = std::move(received_.front());
    received_.pop_front();
    return one;
  }
  bool is_silent() {
    turn();
    return received_.empty();
  }
  static Packet packet(Op op, u32 to_port = host_port) {
    return {.from = cid, .to = host, .from_port = guest_port, .to_port = to_port, .op = op};
  }
  void send(Packet one, std::string_view data = {}) {
    if (one.op == rw && one.bytes == 0) one.bytes = static_cast<u32>(data.size());
    memory_.put(sent_at, one);
    std::ranges::copy(data, memory_.bytes().subspan(sent_at + sizeof one, data.size()).begin());
    out_.describe(0, {.address = sent_at, .bytes = static_cast<u32>(sizeof one + data.size())});
    out_.offer(0);
    out_.notify();
    turn();
  }
  /// The guest has called, and somebody has answered.
  PeersInMemory::Pointer connected(u32 port = host_port) {
    auto program = peers_->listen(port);
    send(packet(request, port));
    EXPECT_EQ(next().packet.op, response);
    return program;
  }
  u64 open() const { return device_.counts().open; }

  TestedMemory memory_{0x8'0000};
  std::shared_ptr<PeersInMemory> peers_ = std::make_shared<PeersInMemory>();
  std::string broken_;
  Vsock device_{{.peers = peers_, .cid = cid},
                {.dma = memory_,
                 .send = [](const InterruptMessage&) {},
                 .broken = [this](std::string_view why) { broken_ = why; },
                 .later = [] {}}};
  Driver driver_{device_, memory_};
  Ring in_{driver_, memory_, Vsock::receive_queue}, out_{driver_, memory_, Vsock::transmit_queue},
      events_{driver_, memory_, Vsock::event_queue};
  u16 seen_ = 0;
  bool takes_ = true;
  std::deque<Received> received_;
};

TEST_F(VsockTest, SaysWhatItIs) {  // 5.10.1 to 5.10.4
  EXPECT_EQ(device_.read_config(pci::reg_id, ~0u) >> 16, 0x1053u);
  EXPECT_EQ(driver_.get(common_queues, 2), 3u);
  EXPECT_EQ(driver_.offered() & 0xff'ffff, 0u) << "streams alone";
  EXPECT_EQ(driver_.get(device_at, 8), cid);
}

TEST_F(VsockTest, TheGuestCalls) {
  const auto program = peers_->listen(host_port);
  send(packet(request));
  EXPECT_EQ(peers_->asked, std::vector<u32>{host_port});
  const Packet answer = next().packet;
  EXPECT_EQ(answer.op, response);
  EXPECT_EQ(answer.from, host);
  EXPECT_EQ(answer.to, cid);
  EXPECT_EQ(answer.from_port, host_port);
  EXPECT_EQ(answer.to_port, guest_port);
  EXPECT_EQ(answer.type, 1);
  EXPECT_EQ(answer.room, Vsock::room_bytes);
  send(packet(rw), "hello");
  EXPECT_EQ(program->heard, "hello");
  program->sends = "and you";
  const Received data = next();
  EXPECT_EQ(data.packet.op, rw);
  EXPECT_EQ(data.data, "and you");
  EXPECT_EQ(data.packet.forwarded, 5u) << "what was taken";
  EXPECT_EQ(device_.counts().connections, 1u);
  EXPECT_EQ(device_.counts().sent_bytes, 5u);
  EXPECT_EQ(device_.counts().received_bytes, 7u);
  EXPECT_EQ(open(), 1u);
}

TEST_F(VsockTest, NobodyListens) {
  send(packet(request));
  const Packet answer = next().packet;
  EXPECT_EQ(answer.op, rst);
  EXPECT_EQ(answer.to_port, guest_port);
  EXPECT_EQ(answer.from_port, host_port);
  EXPECT_EQ(open(), 0u);
  peers_->deaf = true;
  send(packet(request));
  EXPECT_EQ(next().packet.op, rst) << "nor can be asked";
  EXPECT_EQ(device_.counts().refused, 2u);
}

TEST_F(VsockTest, AnAnswerThatComesTooLateIsNobodys) {
  peers_->answers_at_once = false;
  const auto program = peers_->listen(host_port);
  send(packet(request));
  send(packet(rst));
  EXPECT_EQ(open(), 0u);
  send(packet(request));
  peers_->answer(1);
  EXPECT_TRUE(is_silent());
  EXPECT_TRUE(program->closed);
  peers_->answer(2);
  EXPECT_EQ(next().packet.op, response);
}

TEST_F(VsockTest, TheHostCalls) {
  const auto program = peers_->call(22);
  const Packet call = next().packet;
  EXPECT_EQ(call.op, request);
  EXPECT_EQ(call.to_port, 22u);
  EXPECT_EQ(call.from, host);
  EXPECT_EQ(call.from_port, Vsock::first_port);
  program->sends = "early";
  EXPECT_TRUE(is_silent()) << "before the guest has answered";
  Packet answer{.from = cid, .to = host, .from_port = 22, .to_port = call.from_port, .op = response};
  send(answer);
  EXPECT_EQ(program->port, call.from_port);
  EXPECT_EQ(next().data, "early");
  answer.op = rw;
  send(answer, "late");
  EXPECT_EQ(program->heard, "late");
  peers_->call(22);
  EXPECT_EQ(next().packet.from_port, Vsock::first_port + 1) << "another port";
}

TEST_F(VsockTest, TheGuestRefusesACall) {
  const auto program = peers_->call(22);
  const Packet call = next().packet;
  send({.from = cid, .to = host, .from_port = 22, .to_port = call.from_port, .op = rst});
  EXPECT_TRUE(program->closed);
  EXPECT_EQ(program->port, 0u);
  EXPECT_EQ(open(), 0u);
  EXPECT_TRUE(is_silent());
}

TEST_F(VsockTest, ACallerThatGivesUp) {
  const auto program = peers_->call(22);
  const Packet call = next().packet;
  program->has_gone = true;
  const Packet answer = next().packet;
  EXPECT_EQ(answer.op, rst);
  EXPECT_EQ(answer.from_port, call.from_port);
  EXPECT_EQ(open(), 0u);
}

TEST_F(VsockTest, OfACallerThatGivesUpBeforeTheGuestHearsNothingIsLeft) {
  const auto program = peers_->call(22);
  program->has_gone = true;
  EXPECT_TRUE(is_silent());
  EXPECT_EQ(open(), 0u);
  EXPECT_EQ(device_.counts().refused, 1u);
}

TEST_F(VsockTest, WithoutADriverCallsEnd) {
  driver_.set(common_status, 0, 1);
  const auto program = peers_->call(22);
  turn();
  EXPECT_TRUE(program->closed);
  EXPECT_EQ(device_.counts().refused, 1u);
}

TEST_F(VsockTest, TheGuestGetsWhatItHasCreditFor) {  // 5.10.6.3
  const auto program = connected();
  program->sends = std::string(its_room + 500, 'x');
  std::size_t got = 0;
  while (!is_silent()) got += next().data.size();
  EXPECT_EQ(got, its_room);
  EXPECT_EQ(program->sends.size(), 500u) << "the rest waits where it is";
  Packet update = packet(credit_update);
  update.forwarded = 300;
  send(update);
  EXPECT_EQ(next().data.size(), 300u);
  update.forwarded = its_room + 300;
  update.room = 100;
  send(update);
  EXPECT_EQ(next().data.size(), 100u) << "it has less room now";
  update.room = 0;
  send(update);
  EXPECT_TRUE(is_silent());
  update.room = its_room;
  send(update);
  EXPECT_EQ(next().data.size(), 100u);
}

TEST_F(VsockTest, AnOlderWordOfItsCreditCounts) {
  const auto program = connected();
  program->sends = std::string(1000, 'x');
  EXPECT_EQ(next().data.size(), 1000u);
  Packet update = packet(credit_update);
  update.forwarded = 1000;
  send(update);
  update.forwarded = 200;
  send(update);
  EXPECT_EQ(open(), 1u) << "packets of two processors may pass each other";
  program->sends = std::string(its_room + 1, 'x');
  std::size_t got = 0;
  while (!is_silent()) got += next().data.size();
  EXPECT_EQ(got, its_room) << "and takes nothing back";
}

TEST_F(VsockTest, WhatTheHostDoesNotTakeIsBounded) {
  const auto program = connected();
  program->room = 100;
  const std::string piece(16 << 10, 'y');
  for (int i = 0; i < 4; ++i) send(packet(rw), piece);
  EXPECT_EQ(program->heard.size(), 100u);
  EXPECT_TRUE(is_silent());
  EXPECT_EQ(open(), 1u);
  program->room = 20'000;
  const Packet update = next().packet;
  EXPECT_EQ(update.op, credit_update) << "there is room again";
  EXPECT_EQ(update.forwarded, 20'100u);
  send(packet(credit_request));
  EXPECT_EQ(next().packet.op, credit_update);
  send(packet(rw), piece);
  EXPECT_EQ(open(), 1u);
  send(packet(rw), piece);
  EXPECT_EQ(next().packet.op, rst) << "more than it has credit for";
  EXPECT_EQ(open(), 0u);
  EXPECT_TRUE(program->closed);
}

TEST_F(VsockTest, EachDirectionEndsByItself) {
  const auto program = connected();
  Packet end = packet(shutdown);
  end.flags = 2;  // it sends no more
  program->room = 3;
  send(packet(rw), "hello");
  send(end);
  EXPECT_FALSE(program->told_end) << "what it has sent comes first";
  program->room = 10;
  EXPECT_TRUE(is_silent());
  EXPECT_EQ(program->heard, "hello");
  EXPECT_TRUE(program->told_end);
  program->sends = "answer";
  program->sends_no_more = true;
  EXPECT_EQ(next().data, "answer");
  const Packet ends = next().packet;
  EXPECT_EQ(ends.op, shutdown);
  EXPECT_EQ(ends.flags, 2u);
  end.flags = 3;
  send(end);
  EXPECT_EQ(next().packet.op, rst) << "a clean end (5.10.6.6)";
  EXPECT_EQ(open(), 0u);
  EXPECT_TRUE(program->closed);
}

TEST_F(VsockTest, AProgramThatHasGone) {
  const auto program = connected();
  program->sends = "last words";
  program->has_gone = true;
  send(packet(rw), "to nobody");
  EXPECT_EQ(next().data, "last words");
  const Packet ends = next().packet;
  EXPECT_EQ(ends.op, shutdown);
  EXPECT_EQ(ends.flags, 3u);
  EXPECT_TRUE(program->closed);
  EXPECT_EQ(open(), 1u) << "until the guest agrees";
  send(packet(rw), "still to nobody");
  EXPECT_TRUE(is_silent());
  send(packet(rst));
  EXPECT_EQ(open(), 0u);
  EXPECT_TRUE(is_silent());
}

TEST_F(VsockTest, OneThatIsGoneAfterItHasEnded) {
  const auto program = connected();
  program->sends_no_more = true;
  EXPECT_EQ(next().packet.flags, 2u);
  EXPECT_TRUE(is_silent());
  program->has_gone = true;
  EXPECT_EQ(next().packet.flags, 3u);
  Packet end = packet(shutdown);
  end.flags = 3;
  send(end);
  EXPECT_EQ(next().packet.op, rst);
  EXPECT_EQ(open(), 0u);
}

TEST_F(VsockTest, NothingIsReadForAGuestThatReceivesNoMore) {
  const auto program = connected();
  Packet end = packet(shutdown);
  end.flags = 1;
  send(end);
  program->sends = "unread";
  EXPECT_TRUE(is_silent());
  send(packet(rw), "heard");
  EXPECT_EQ(program->heard, "heard");
  program->has_gone = true;
  EXPECT_EQ(next().packet.flags, 3u);
}

TEST_F(VsockTest, WhatIsWrongEndsAConnection) {
  const auto expect_end = [this](const char* what, auto change, std::string_view data = {}) {
    const auto program = connected();
    Packet one = packet(rw);
    change(one);
    send(one, data);
    EXPECT_EQ(next().packet.op, rst) << what;
    EXPECT_TRUE(is_silent()) << what;
    EXPECT_EQ(open(), 0u) << what;
    EXPECT_TRUE(program->closed) << what;
    EXPECT_EQ(program->heard, "") << what;
    EXPECT_FALSE(driver_.is_broken()) << what;
  };
  expect_end(
      "longer than its buffers", [](Packet& one) { one.bytes = 6; }, "hello");
  expect_end(
      "longer than anything", [](Packet& one) { one.bytes = ~0u; }, "hello");
  expect_end("no operation", [](Packet& one) { one.op = 0; });
  expect_end("an unknown one", [](Packet& one) { one.op = 8; });
  expect_end("a second call", [](Packet& one) { one.op = request; });
  expect_end("an answer to nothing", [](Packet& one) { one.op = response; });
  expect_end(
      "it has taken what was not sent", [](Packet& one) { one.forwarded = 1; }, "hello");
  const auto program = connected();
  Packet end = packet(shutdown);
  end.flags = 2;
  send(end);
  send(packet(rw), "it said that it would send no more");
  EXPECT_EQ(next().packet.op, rst);
  EXPECT_EQ(program->heard, "");
}

TEST_F(VsockTest, BeforeItIsOpenNothingGoes) {
  peers_->answers_at_once = false;
  peers_->listen(host_port);
  for (const Op op : {rw, shutdown}) {
    send(packet(request));
    send(packet(op), "x");
    EXPECT_EQ(next().packet.op, rst);
    EXPECT_EQ(open(), 0u);
  }
  const auto program = peers_->call(22);
  const Packet call = next().packet;
  send({.from = cid, .to = host, .from_port = 22, .to_port = call.from_port, .op = rw}, "x");
  EXPECT_EQ(next().packet.op, rst);
  EXPECT_TRUE(program->closed);
}

TEST_F(VsockTest, WhoeverIsMeantOrSpeaks) {
  Packet one = packet(request);
  one.from = 9;
  send(one);
  one.from = cid;
  one.from_high = 1;
  send(one);
  EXPECT_TRUE(is_silent()) << "in another's name: nobody is answered";
  EXPECT_TRUE(peers_->asked.empty());
  one = packet(request);
  one.to = 3;
  send(one);
  Packet answer = next().packet;
  EXPECT_EQ(answer.op, rst) << "there is nobody but the host";
  EXPECT_EQ(answer.from, 3u);
  one = packet(request);
  one.type = 2;
  send(one);
  answer = next().packet;
  EXPECT_EQ(answer.op, rst) << "streams alone";
  EXPECT_EQ(answer.type, 2);
  for (const Op op : {response, shutdown, rw, credit_update, credit_request}) {
    send(packet(op));
    EXPECT_EQ(next().packet.op, rst) << op << ": of no connection";
  }
  send(packet(rst));
  EXPECT_TRUE(is_silent()) << "a reset is not answered";
}

TEST_F(VsockTest, ThereAreSoManyConnections) {
  for (u32 port = 1; port <= Vsock::most_connections; ++port) connected(port);
  send(packet(request, 5000));
  EXPECT_EQ(next().packet.op, rst);
  const auto program = peers_->call(22);
  EXPECT_TRUE(is_silent());
  EXPECT_TRUE(program->closed);
  EXPECT_EQ(open(), Vsock::most_connections);
  send(packet(rst, 1));
  connected(5000);
}

TEST_F(VsockTest, EachHasItsTurn) {
  std::vector<PeersInMemory::Pointer> programs;
  for (u32 port = 1; port <= 4; ++port) programs.push_back(connected(port));
  for (const auto& program : programs) program->sends = std::string(3 * buffer_bytes, 'z');
  turn();
  for (u32 i = 0; i < 8; ++i) EXPECT_EQ(received_[i].packet.from_port, 1 + i % 4);
}

TEST_F(VsockTest, AGuestThatTakesNothingIsNotReadFrom) {
  takes_ = false;
  begin(1);
  for (u32 i = 0; i < 1000; ++i) {
    Packet one = packet(rw);
    one.from_port = i;
    memory_.put(sent_at, one);
    out_.describe(0, {.address = sent_at, .bytes = sizeof one});
    out_.offer(0);
    out_.notify();
    turn();
    if (static_cast<u16>(i + 1 - out_.used()) == Ring::size) break;
  }
  EXPECT_LE(out_.used(), 129) << "resets that nobody takes are so many at most";
  EXPECT_GE(out_.used(), 100);
  EXPECT_FALSE(device_.has_work());
}

TEST_F(VsockTest, AResetOfTheDeviceEndsAll) {
  const auto program = connected();
  const auto waiting = peers_->call(22);
  turn();
  driver_.set(common_status, 0, 1);
  begin();
  EXPECT_TRUE(program->closed);
  EXPECT_TRUE(waiting->closed);
  EXPECT_EQ(open(), 0u);
  EXPECT_TRUE(is_silent());
  send(packet(rw), "as if nothing had happened");
  EXPECT_EQ(next().packet.op, rst);
  EXPECT_EQ(connected()->heard, "");
}

TEST_F(VsockTest, AHostileDriverBreaksItAlone) {
  const auto expect_broken = [this](const char* what, const PeersInMemory::Pointer& program) {
    turn();
    EXPECT_TRUE(driver_.is_broken()) << what;
    EXPECT_FALSE(broken_.empty()) << what;
    EXPECT_FALSE(device_.has_work()) << what;
    EXPECT_TRUE(program->closed) << what;
    broken_.clear();
    takes_ = true;
    begin();
  };
  auto program = connected();
  out_.describe(0, {.address = sent_at, .bytes = sizeof(Packet) - 1});
  out_.offer(0);
  out_.notify();
  expect_broken("no header", program);
  program = connected();
  out_.describe(0, {.address = sent_at, .bytes = sizeof(Packet), .flags = more, .next = 0});
  out_.offer(0);
  out_.notify();
  expect_broken("a loop", program);
  program = connected();
  out_.jump(0x4000);
  out_.notify();
  expect_broken("an index that jumps", program);
  program = connected();
  Packet one = packet(rw);
  one.bytes = 100;
  memory_.put(sent_at, one);
  out_.describe(0, {.address = sent_at, .bytes = sizeof one, .flags = more, .next = 1});
  out_.describe(1, {.address = u64{1} << 50, .bytes = 100});
  out_.offer(0);
  out_.notify();
  expect_broken("data that is not there", program);
  for (const u32 bytes : {u32{sizeof(Packet)}, u32{sizeof(Packet)} - 1, u32{0}}) {
    begin(0);
    program = peers_->call(22);
    in_.describe(0, {.address = buffers_at, .bytes = bytes, .flags = device_writes});
    in_.offer(0);
    in_.notify();
    expect_broken("no room for a packet", program);
  }
  begin(0);
  program = peers_->call(22);
  in_.describe(0, {.address = 0x7'fff0, .bytes = 0x1000, .flags = device_writes});
  in_.offer(0);
  in_.notify();
  expect_broken("a buffer that is not there", program);
}

TEST_F(VsockTest, WhoGoesOnIsToldThatItsConnectionsHaveEnded) {  // 5.10.6.7
  const auto program = connected();
  peers_->call(22);
  EXPECT_EQ(next().packet.from_port, Vsock::first_port);
  events_.describe(0, {.address = sent_at + 0x1000, .bytes = 4, .flags = device_writes});
  memory_.put<u32>(sent_at + 0x1000, ~0u);
  events_.offer(0);
  events_.notify();
  EXPECT_TRUE(is_silent());
  EXPECT_EQ(events_.used(), 0);
  const Vsock::State state = device_.state();

  ASSERT_TRUE(device_.set_state(state));
  EXPECT_EQ(device_.state(), state);
  EXPECT_TRUE(program->closed);
  turn();
  EXPECT_EQ(events_.used(), 1);
  EXPECT_EQ(events_.used_bytes(0), 4u);
  EXPECT_EQ(memory_.get<u32>(sent_at + 0x1000), 0u) << "TRANSPORT_RESET";
  EXPECT_EQ(open(), 0u);
  send(packet(rw), "as if nothing had happened");
  EXPECT_EQ(next().packet.op, rst);
  peers_->call(22);
  EXPECT_EQ(next().packet.from_port, Vsock::first_port + 1) << "no port of before";
  connected();
}

TEST_F(VsockTest, UntilItIsToldNothingGoes) {
  ASSERT_TRUE(device_.set_state(device_.state()));
  send(packet(rw), "as if nothing had happened");
  const auto program = peers_->call(22);
  EXPECT_TRUE(is_silent());
  EXPECT_TRUE(program->closed);
  events_.describe(0, {.address = sent_at + 0x1000, .bytes = 4, .flags = device_writes});
  events_.offer(0);
  events_.notify();
  EXPECT_EQ(next().packet.op, rst);
  begin();
  EXPECT_EQ(events_.used(), 0) << "a driver that begins anew knows";
}

TEST_F(VsockTest, OfAStateThatCannotBe) {
  const Vsock::State sound = device_.state();
  const auto refused = [this](const Vsock::State& state) {
    const auto set = device_.set_state(state);
    return !set && set.error() == "vsock: it can be in no such state";
  };
  for (const u64 wrong : {u64{0}, u64{2}, u64{0xffff'ffff}, ~u64{0}}) {
    Vsock::State state = sound;
    state.cid = wrong;
    EXPECT_TRUE(refused(state)) << wrong;
  }
  Vsock::State state = sound;
  state.next_port = 1;
  EXPECT_TRUE(refused(state));
  state = sound;
  state.device.queues.pop_back();
  EXPECT_TRUE(refused(state));
  Vsock other({.peers = peers_, .cid = 9}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}});
  ASSERT_TRUE(other.set_state(sound));
  EXPECT_EQ(other.state(), sound) << "with the number that its guest knows";
}

/// Whatever a driver writes: it lives, and what it keeps is bounded. Under the sanitizers, too.
TEST_F(VsockTest, AnyPackets) {
  std::mt19937 random(18);
  std::vector<PeersInMemory::Pointer> programs;
  for (u32 port = 1; port < 4; ++port) programs.push_back(peers_->listen(port));
  for (unsigned i = 0; i < 20'000; ++i) {
    Packet one{.from = cid,
               .to = host,
               .from_port = static_cast<u32>(random() % 4),
               .to_port = static_cast<u32>(1 + random() % 4),
               .bytes = random() % 4 == 0 ? static_cast<u32>(random()) : static_cast<u32>(random() % 64),
               .op = static_cast<u16>(random() % 9),
               .flags = static_cast<u32>(random() % 4),
               .room = static_cast<u32>(random() % 8 == 0 ? random() : its_room),
               .forwarded = static_cast<u32>(random() % 16 == 0 ? random() : 0)};
    if (random() % 50 == 0) one.to = static_cast<u32>(random());
    if (random() % 50 == 0) one.type = static_cast<u16>(random());
    for (const auto& program : programs) {
      if (random() % 8 == 0) program->sends += "some bytes";
      program->room = random() % 100;
      program->sends_no_more = random() % 100 == 0;
      program->has_gone = random() % 200 == 0;
    }
    if (random() % 16 == 0) peers_->call(static_cast<u32>(random() % 3));
    if (random() % 1000 == 0) begin();
    send(one, std::string(random() % 64, 'x'));
    received_.clear();
    ASSERT_LE(open(), Vsock::most_connections);
    ASSERT_FALSE(driver_.is_broken()) << broken_;
  }
}

}  // namespace
}  // namespace cloister::platform::virtio
