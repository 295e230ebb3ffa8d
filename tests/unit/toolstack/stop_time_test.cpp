// How long it can take to stop domains, and how the service manager hears of it.
#include "client/stop_time.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "host/fd.hpp"

namespace cloister::toolstack::client {
namespace {

using std::chrono::seconds;

seconds longest(std::size_t at_a_time, const std::vector<StopTime>& domains) {
  return longest_stop(domains, at_a_time);
}

TEST(StopTime, IsThatOfTheLastToEnd) {
  EXPECT_EQ(longest(2, {}), seconds(0));
  EXPECT_EQ(longest(1, {{0, seconds(10)}, {0, seconds(20)}, {0, seconds(30)}}), seconds(60));
  EXPECT_EQ(longest(2, {{0, seconds(10)}, {0, seconds(20)}, {0, seconds(30)}}), seconds(40))
      << "the third after the first";
  EXPECT_EQ(longest(3, {{0, seconds(10)}, {0, seconds(20)}, {0, seconds(30)}}), seconds(30));
  EXPECT_EQ(longest(64, {{0, seconds(10)}}), seconds(10));
}

TEST(StopTime, OneOrderWaitsForTheOther) {
  EXPECT_EQ(longest(2, {{2, seconds(10)}, {1, seconds(20)}, {0, seconds(30)}}), seconds(60));
  EXPECT_EQ(longest(2, {{7, seconds(10)}, {7, seconds(20)}, {0, seconds(30)}, {0, seconds(5)}}), seconds(50));
}

TEST(StopTime, IsAskedForInMicroseconds) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = CLOISTER_BINARY_DIR "/notify";
  ASSERT_LT(name.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  ::unlink(name.c_str());
  const Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << std::strerror(errno);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  ask_for_time(seconds(86'400));
  ::unsetenv("NOTIFY_SOCKET");
  ::unlink(name.c_str());
  std::array<char, 100> text{};
  const ssize_t got = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(got)), "EXTEND_TIMEOUT_USEC=86400000000");
  ask_for_time(seconds(1));  // nobody hears it
}

}  // namespace
}  // namespace cloister::toolstack::client
