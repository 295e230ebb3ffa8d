// What two clients say to each other that carry a domain (client/move_wire.hpp): whatever comes is a message of a known
// kind and length, or one clear error.
#include "client/move_wire.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

namespace cloister::toolstack::client {
namespace {

WireSource source_of(std::span<const u8> bytes) {
  return [bytes](std::span<u8> to) mutable {
    if (bytes.size() < to.size()) return false;
    std::ranges::copy(bytes.first(to.size()), to.begin());
    bytes = bytes.subspan(to.size());
    return true;
  };
}

std::string error_of(std::vector<u8> bytes) {
  const auto message = read_message(source_of(bytes));
  return message ? "" : message.error();
}

TEST(MoveWire, SaysAndHears) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  Wire one(Fd(ends[0]), Fd(::dup(ends[0]))), other(Fd(ends[1]), Fd(::dup(ends[1])));
  std::thread greets([&] { EXPECT_TRUE(one.greet()); });
  EXPECT_TRUE(other.greet());
  greets.join();
  ASSERT_TRUE(one.send(WireKind::offer, std::string("{}")));
  ASSERT_TRUE(one.send(WireKind::ready));
  ASSERT_TRUE(one.send(WireKind::failed, std::string(R"({"error":"no room"})")));
  ASSERT_TRUE(one.send(WireKind::piece));
  const auto offer = other.receive(WireKind::offer);
  ASSERT_TRUE(offer);
  EXPECT_EQ(std::string(offer->body.begin(), offer->body.end()), "{}");
  EXPECT_TRUE(other.receive(WireKind::ready));
  EXPECT_EQ(other.receive(WireKind::ready).error(), "no room");
  EXPECT_EQ(other.receive(WireKind::verdict).error(), "found a message 'piece', expected 'verdict'");
}

TEST(MoveWire, WhatIsNoMessageIsRefusedBeforeMemoryIsTaken) {
  EXPECT_EQ(error_of({}), "the other end has gone");
  EXPECT_EQ(error_of({1, 0, 0, 0, 1, 0, 0}), "the other end has gone");
  EXPECT_EQ(error_of({1, 0, 0, 0, 1, 0, 0, 0}), "the other end has gone amid a message 'offer'");
  EXPECT_EQ(error_of({0, 0, 0, 0, 0, 0, 0, 0}), "found a message of kind 0, which is not known here");
  EXPECT_EQ(error_of({11, 0, 0, 0, 0, 0, 0, 0}), "found a message of kind 11, which is not known here");
  EXPECT_EQ(error_of({3, 0, 0, 0, 1, 0, 1, 0}), "found a message 'piece' of 65537 bytes, expected at most 65536");
  EXPECT_EQ(error_of({4, 0, 0, 0, 1, 0, 0, 0}), "found a message 'ready' of 1 bytes, expected at most 0");
}

TEST(MoveWire, WhatIsNoOtherEndIsRefused) {
  auto bytes = wire_greeting();
  EXPECT_TRUE(read_greeting(source_of(bytes)));
  EXPECT_NE(read_greeting(source_of(std::span(bytes).first(11))).error().find("has gone"), std::string::npos);
  bytes[8] = 2;
  EXPECT_EQ(read_greeting(source_of(bytes)).error(), "the other end speaks version 2, expected 1");
  bytes[0] = 'c';
  EXPECT_EQ(read_greeting(source_of(bytes)).error(), "the other end is no `cloister receive`, or `cloister migrate`");
}

/// As it says, and nothing for a terminal to obey.
TEST(MoveWire, TheOtherEndSaysWhyItHasFailed) {
  const auto failed = [](std::string_view body) {
    return WireMessage{.kind = WireKind::failed, .body = {body.begin(), body.end()}};
  };
  EXPECT_EQ(reason_in(failed(R"({"error":"cloister: web goes on here"})")), "web goes on here");
  EXPECT_EQ(reason_in(failed(R"({"error":"web\u001b[2J"})")).find('\x1b'), std::string::npos);
  EXPECT_EQ(reason_in(failed("{}")), "it says not why");
  EXPECT_EQ(reason_in(failed("")), "it says not why");
  EXPECT_EQ(Wire::of_kind(failed(R"({"error":"it is full"})"), WireKind::ready).error(), "it is full");
}

}  // namespace
}  // namespace cloister::toolstack::client
