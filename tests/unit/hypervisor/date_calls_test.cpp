// Who tells a guest the date after it has stood still (docs/configuration.md, vsock: "The guest's date").
#include "hypervisor/devices/date_calls.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

namespace cloister::hypervisor {
namespace {

using platform::virtio::Peer;

std::string heard_of(Peer& peer) {
  std::array<std::byte, 256> bytes{};
  const auto got = peer.receive(bytes);
  return got ? std::string(reinterpret_cast<const char*>(bytes.data()), *got) : "the end";
}

std::unique_ptr<Peer> next_within(DateCalls& calls, std::chrono::milliseconds time) {
  for (const auto end = DateCalls::Clock::now() + time; DateCalls::Clock::now() < end;) {
    if (auto call = calls.next()) return call;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::max(calls.wait_ms(), 1)));
  }
  return nullptr;
}

TEST(DateCalls, CallsNobodyUnasked) {
  DateCalls calls({});
  EXPECT_EQ(calls.next(), nullptr);
  EXPECT_EQ(calls.wait_ms(), -1);
}

TEST(DateCalls, TellsTheDateOnce) {
  DateCalls calls(std::chrono::seconds(3600));
  calls.begin();
  const auto call = next_within(calls, std::chrono::seconds(5));
  ASSERT_NE(call, nullptr);
  EXPECT_EQ(calls.next(), nullptr) << "one at a time";
  EXPECT_FALSE(call->ready()) << "the guest has not answered";
  EXPECT_TRUE(call->answered(1));
  long long told = 0;
  char rest = 0;
  ASSERT_TRUE(call->ready());
  ASSERT_EQ(std::sscanf(heard_of(*call).c_str(), "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":%lld}}%c",
                        &told, &rest),
            2);
  EXPECT_EQ(rest, '\n');
  const auto now = std::chrono::system_clock::now().time_since_epoch() + std::chrono::seconds(3600);
  EXPECT_NEAR(static_cast<double>(told),
              static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()), 60e9);
}

TEST(DateCalls, AreOverOnceSomebodyHasReplied) {
  DateCalls calls({});
  calls.begin();
  auto call = next_within(calls, std::chrono::seconds(5));
  ASSERT_NE(call, nullptr);
  EXPECT_TRUE(call->answered(1));
  EXPECT_NE(heard_of(*call), "the end");
  const std::string reply = "{\"return\": {}}\n";
  EXPECT_EQ(call->send(std::as_bytes(std::span(reply).first(5))), 5u);
  EXPECT_FALSE(call->gone());
  EXPECT_EQ(call->send(std::as_bytes(std::span(reply).subspan(5))), reply.size() - 5);
  EXPECT_TRUE(call->ready() && call->gone());
  EXPECT_EQ(heard_of(*call), "the end");
  call.reset();
  EXPECT_EQ(calls.wait_ms(), -1);
}

TEST(DateCalls, AreMadeAgainWhileNobodyListens) {
  DateCalls calls({});
  calls.begin();
  auto call = next_within(calls, std::chrono::seconds(5));
  ASSERT_NE(call, nullptr);
  call.reset();
  EXPECT_EQ(calls.next(), nullptr) << "not at once";
  EXPECT_GT(calls.wait_ms(), 0);
  EXPECT_NE(next_within(calls, std::chrono::seconds(5)), nullptr);
}

TEST(DateCalls, EndWhenNobodyReplies) {
  DateCalls calls({});
  calls.begin();
  const auto call = next_within(calls, std::chrono::seconds(5));
  ASSERT_NE(call, nullptr);
  EXPECT_TRUE(call->answered(1));
  EXPECT_NE(heard_of(*call), "the end");
  EXPECT_FALSE(call->ready());
  EXPECT_GT(calls.wait_ms(), 0) << "whoever waits is to look again";
  std::this_thread::sleep_for(DateCalls::patience + std::chrono::milliseconds(10));
  EXPECT_TRUE(call->ready());
  EXPECT_EQ(heard_of(*call), "the end");
}

}  // namespace
}  // namespace cloister::hypervisor
