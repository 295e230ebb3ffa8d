// Who is at the other end of a Unix socket.
#include "host/unix_socket.hpp"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace cloister::toolstack {
namespace {

/// What one end of a new pair of sockets says of the other.
Peer peer_of_a_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
  const Fd one(ends[0]), other(ends[1]);
  return peer_of(one.get());
}

TEST(Peer, IsTheProcessWithItsUserAndGroups) {
  const Peer peer = peer_of_a_pair();
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::geteuid());
  EXPECT_EQ(peer.gid, ::getegid());
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  ::getgroups(static_cast<int>(groups.size()), groups.data());
  std::ranges::sort(groups);
  EXPECT_EQ(peer.groups, groups);
}

TEST(Peer, HasEverySupplementaryGroup) {
  std::vector<gid_t> wanted;
  for (gid_t group = 1000; group < 2000; ++group) wanted.push_back(group);
  Peer peer;
  bool may = true;
  // The system call, unlike the library's function, is for one thread.
  std::thread([&] {
    may = ::syscall(SYS_setgroups, wanted.size(), wanted.data()) == 0;
    peer = peer_of_a_pair();
  }).join();
  if (!may) GTEST_SKIP() << "groups are set by root";
  EXPECT_EQ(peer.groups, wanted);
  EXPECT_EQ(peer.uid, ::geteuid());
}

TEST(Peer, IsNobodyWhereThereIsNone) {
  const Peer peer = peer_of(-1);
  EXPECT_EQ(peer.uid, ~0u);
  EXPECT_EQ(peer.gid, ~0u);
  EXPECT_TRUE(peer.groups.empty());
}

}  // namespace
}  // namespace cloister::toolstack
