// How long it can take to stop domains, in which turns that goes, and how the service manager hears of it.
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

#include "client/stop_turns.hpp"
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

TEST(StopTime, OfOneUserIsNoneOfAnothers) {
  EXPECT_EQ(longest(1, {{9, seconds(10), 1}, {9, seconds(20), 1}, {0, seconds(25), 2}}), seconds(30));
  EXPECT_EQ(longest(1, {{9, seconds(10), 1}, {5, seconds(40), 2}, {1, seconds(20), 1}}), seconds(40));
}

std::vector<seconds> fitted(std::size_t at_a_time, std::vector<StopTime> domains, seconds most) {
  fit_into(domains, at_a_time, most, seconds(10));
  std::vector<seconds> times;
  for (const StopTime& domain : domains) times.push_back(domain.longest);
  return times;
}

TEST(StopTime, IsCutWhereAUsersIsTooLong) {
  using Times = std::vector<seconds>;
  const seconds day(86'400);
  EXPECT_EQ(fitted(2, {}, seconds(100)), Times{});
  EXPECT_EQ(fitted(1, {{0, seconds(60)}, {0, seconds(40)}}, seconds(100)), (Times{seconds(60), seconds(40)}));
  EXPECT_EQ(fitted(1, {{9, day}, {9, day}, {0, seconds(60)}}, seconds(1440)),
            (Times{seconds(690), seconds(690), seconds(60)}))
      << "the longest alone";
  EXPECT_EQ(fitted(2, {{9, day, 7}, {9, day, 7}, {0, seconds(60), 7}, {0, day, 8}}, seconds(1440)),
            (Times{seconds(1380), seconds(1380), seconds(60), seconds(1440)}))
      << "each user's by itself";
  const Times many = fitted(1, std::vector<StopTime>(1000, {0, seconds(60)}), seconds(1440));
  EXPECT_EQ(many, Times(1000, seconds(10))) << "each has a little";
  EXPECT_EQ(fitted(1, {{0, day}, {0, seconds(3)}}, seconds(5)), (Times{seconds(10), seconds(3)}));
}

std::vector<std::size_t> begun(StopTurns& turns) {
  std::vector<std::size_t> all;
  while (const auto next = turns.next()) all.push_back(*next);
  return all;
}

TEST(StopTurns, AreEachUsersOwn) {
  using Numbers = std::vector<std::size_t>;
  // The first user's are of the highest orders, and never end.
  StopTurns turns({{1, 9}, {1, 9}, {1, 9}, {2, 5}, {2, 5}, {0, 4}, {0, 1}}, 2);
  EXPECT_EQ(turns.most(), 6u);
  EXPECT_EQ(begun(turns), (Numbers{5, 0, 1, 3, 4})) << "root's second is of a lower order";
  EXPECT_FALSE(turns.all_begun());
  turns.ended(5);
  EXPECT_EQ(begun(turns), Numbers{6});
  turns.ended(0);
  EXPECT_EQ(begun(turns), Numbers{2});
  EXPECT_TRUE(turns.all_begun());
}

TEST(StopTurns, LowerOrdersWaitForTheEndOfAllHigherOnes) {
  StopTurns turns({{1, 9}, {1, 9}, {1, 2}}, 3);
  EXPECT_EQ(begun(turns), (std::vector<std::size_t>{0, 1}));
  turns.ended(1);
  EXPECT_EQ(begun(turns), std::vector<std::size_t>{});
  turns.ended(0);
  EXPECT_EQ(begun(turns), std::vector<std::size_t>{2});
}

TEST(StopTurns, LeaveOnePlaceToEachUser) {
  EXPECT_EQ(places_of_a_user(64, 1), 64u);
  EXPECT_EQ(places_of_a_user(64, 8), 32u);
  EXPECT_EQ(places_of_a_user(64, 300), 1u);
  EXPECT_EQ(places_of_a_user(2, 0), 2u);
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
