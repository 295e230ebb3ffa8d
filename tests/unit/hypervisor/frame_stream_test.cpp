// Frames on a stream socket, as passt has them, and which of them would reach the host.
#include "hypervisor/devices/frame_stream.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <thread>

#include "hypervisor/devices/host_guard.hpp"

namespace cloister::hypervisor {
namespace {

using Bytes = std::vector<std::byte>;

Bytes frame(std::size_t bytes, u8 first = 0) {
  Bytes frame(bytes);
  std::ranges::generate(frame, [n = first]() mutable { return static_cast<std::byte>(n++); });
  return frame;
}

Bytes on_the_wire(const Bytes& frame) {
  Bytes all{std::byte{0}, static_cast<std::byte>(frame.size() >> 16), static_cast<std::byte>(frame.size() >> 8),
            static_cast<std::byte>(frame.size())};
  all.insert(all.end(), frame.begin(), frame.end());
  return all;
}

class FrameStreamTest : public ::testing::Test {
 protected:
  FrameStreamTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const int room = 60'000;
    EXPECT_EQ(::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    theirs_ = Fd(ends[0]);
    stream_ = *FrameStream::create(Fd(ends[1]), FrameStream::Host::out_of_reach);
  }
  void say(const Bytes& bytes) {
    ASSERT_EQ(::send(theirs_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  Bytes heard(std::size_t bytes) {
    Bytes all(bytes);
    EXPECT_EQ(::recv(theirs_.get(), all.data(), all.size(), MSG_WAITALL), static_cast<ssize_t>(bytes));
    return all;
  }
  Bytes next() {
    if (stream_->frame(0).empty()) stream_->wait(1);
    const Bytes one(stream_->frame(0).begin(), stream_->frame(0).end());
    if (!one.empty()) stream_->pop(0);
    return one;
  }

  Fd theirs_;
  std::shared_ptr<FrameStream> stream_;
};

/// Debian 12's passt (20230309, tap.c) takes what comes behind the part of a frame that it has read for a length.
TEST_F(FrameStreamTest, WhoeverReadsFindsWholeFrames) {
  std::size_t sent = 0;
  for (u8 n = 0; n < 200; ++n) {
    const std::size_t bytes = 61 + n * 131U % 9000;
    ASSERT_TRUE(stream_->send(0, {}, frame(bytes, n)));
    sent += bytes + 4;
    if (!stream_->has_room() || n == 199) {
      // What is read between two flushes ends where a frame does.
      while (true) {
        stream_->flush();
        Bytes all(1 << 20);
        const ssize_t got = ::recv(theirs_.get(), all.data(), all.size(), MSG_DONTWAIT);
        if (got <= 0) break;
        std::size_t at = 0;
        while (at < static_cast<std::size_t>(got)) {
          ASSERT_LE(at + 4, static_cast<std::size_t>(got));
          at += 4 + (std::to_integer<std::size_t>(all[at + 2]) << 8 | std::to_integer<std::size_t>(all[at + 3]));
        }
        ASSERT_EQ(at, static_cast<std::size_t>(got));
        sent -= at;
      }
    }
  }
  EXPECT_EQ(sent, 0U);
  EXPECT_TRUE(stream_->send(0, {}, frame(32764))) << "with its length, what is sent at once";
  EXPECT_FALSE(stream_->send(0, {}, frame(32765)));
}

TEST_F(FrameStreamTest, FramesBothWays) {
  say(on_the_wire(frame(60, 1)));
  say(on_the_wire(frame(65549, 2)));
  EXPECT_EQ(next(), frame(60, 1));
  while (stream_->frame(0).empty() && stream_->up()) stream_->wait(1);
  EXPECT_EQ(next(), frame(65549, 2));
  EXPECT_TRUE(stream_->send(0, {}, frame(100, 3)));
  EXPECT_TRUE(stream_->send(0, {}, frame(14, 4)));
  stream_->flush();
  EXPECT_EQ(heard(104), on_the_wire(frame(100, 3)));
  EXPECT_EQ(heard(18), on_the_wire(frame(14, 4)));
}

TEST_F(FrameStreamTest, FramesInPieces) {
  const Bytes all = on_the_wire(frame(50, 9));
  for (const std::byte one : all) {
    EXPECT_TRUE(stream_->frame(0).empty());
    say({one});
    stream_->wait(1);
  }
  EXPECT_EQ(next(), frame(50, 9));
}

TEST_F(FrameStreamTest, WhatIsTooShortIsPassedOver) {
  say(on_the_wire(frame(13)));
  say(on_the_wire({}));
  say(on_the_wire(frame(14)));
  EXPECT_EQ(next(), frame(14));
}

TEST_F(FrameStreamTest, WhatIsTooLongEndsIt) {
  say({std::byte{0}, std::byte{1}, std::byte{0}, std::byte{14}});  // a byte more than any frame
  stream_->wait(1);
  EXPECT_FALSE(stream_->up());
  EXPECT_TRUE(stream_->frame(0).empty());
  EXPECT_FALSE(stream_->send(0, {}, frame(60)));
}

TEST_F(FrameStreamTest, ItsEndIsSeenWhoeverWantsFrames) {
  for (const bool wanted : {true, false}) {
    theirs_ = Fd();
    stream_->wait(wanted);
    EXPECT_FALSE(stream_->up());
    EXPECT_TRUE(stream_->has_room()) << "for what goes nowhere";
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    theirs_ = Fd(ends[0]);
    stream_ = *FrameStream::create(Fd(ends[1]), FrameStream::Host::out_of_reach);
  }
}

TEST_F(FrameStreamTest, WhoIsNotReadWaits) {
  while (stream_->has_room()) {
    ASSERT_TRUE(stream_->send(0, {}, frame(1000)));
    stream_->flush();
  }
  std::jthread reader([this] {
    Bytes some(64 << 10);
    while (::recv(theirs_.get(), some.data(), some.size(), 0) > 0) continue;
  });
  while (!stream_->has_room()) stream_->wait(0);
  EXPECT_TRUE(stream_->up());
  stream_.reset();
}

TEST_F(FrameStreamTest, SomebodyWakesWhoWaits) {
  stream_->wake();
  stream_->wake();
  stream_->wait(0);
  std::jthread waker([this] { stream_->wake(); });
  stream_->wait(1);
  EXPECT_TRUE(stream_->up());
}

/// Whatever comes, in whatever pieces: frames of the lengths that there are, or the end.
TEST_F(FrameStreamTest, RandomStreams) {
  std::mt19937_64 random(1);
  u64 frames = 0, ends = 0;
  for (int i = 0; i < 400; ++i) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    theirs_ = Fd(pair[0]);
    stream_ = *FrameStream::create(Fd(pair[1]), FrameStream::Host::out_of_reach);
    for (int j = 0; j < 10 && stream_->up(); ++j) {
      Bytes some = on_the_wire(frame(random() % 300));
      if (random() % 6 == 0) some[random() % some.size()] = static_cast<std::byte>(random());
      if (random() % 6 == 0) some.resize(1 + random() % some.size());
      say(some);
      stream_->wait(1);
      for (; !stream_->frame(0).empty(); ++frames) stream_->pop(0);
    }
    ends += !stream_->up();
  }
  EXPECT_GT(frames, 500u);
  EXPECT_GT(ends, 10u);
}

Bytes packet(u16 type, std::size_t at, std::initializer_list<u8> destination) {
  Bytes frame(60);
  frame[12] = static_cast<std::byte>(type >> 8);
  frame[13] = static_cast<std::byte>(type);
  std::ranges::transform(destination, frame.begin() + static_cast<std::ptrdiff_t>(at),
                         [](u8 one) { return std::byte{one}; });
  return frame;
}

TEST_F(FrameStreamTest, TheHostItselfIsOutOfReach) {
  const auto ipv4 = [](std::initializer_list<u8> to) { return packet(0x0800, 30, to); };
  const auto ipv6 = [](std::initializer_list<u8> to) { return packet(0x86dd, 38, to); };
  const Bytes at_the_host[] = {ipv4({127, 0, 0, 1}),
                               ipv4({127, 255, 3, 4}),
                               ipv4({0, 0, 0, 0}),
                               ipv4({0, 1, 2, 3}),
                               ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
                               ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
                               ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}),
                               ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 127, 0, 0, 1})};
  for (const Bytes& one : at_the_host) {
    EXPECT_TRUE(is_for_the_host_itself(one));
    EXPECT_FALSE(stream_->send(0, {}, one));
  }
  for (const Bytes& one :
       {ipv4({10, 127, 0, 1}), ipv4({255, 255, 255, 255}), ipv4({1, 0, 0, 1}),
        ipv6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
        ipv6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), packet(0x0806, 38, {127, 0, 0, 1})}) {
    EXPECT_FALSE(is_for_the_host_itself(one));
    EXPECT_TRUE(stream_->send(0, {}, one));
  }
  for (std::size_t bytes = 14; bytes < 31; ++bytes) {
    Bytes cut = at_the_host[0];
    cut.resize(bytes);
    EXPECT_TRUE(is_for_the_host_itself(cut)) << bytes;
  }
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd other(ends[0]);
  EXPECT_TRUE((*FrameStream::create(Fd(ends[1]), FrameStream::Host::reached))->send(0, {}, at_the_host[0]));
}

}  // namespace
}  // namespace cloister::hypervisor
