// host/lone_process.hpp: what such a process has, and how long it lives.
#include "host/lone_process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace cloister {
namespace {

struct Seen {
  int open = 0;        ///< descriptors
  bool given = false;  ///< the one that it was given is where it should be
  bool leads = false;  ///< a session of its own
  bool unmasked = false;
};

Seen look(const struct stat& file) {
  Seen seen;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (const dirent* const entry = ::readdir(folder))
    if (entry->d_name[0] != '.' && std::atoi(entry->d_name) != ::dirfd(folder)) ++seen.open;
  ::closedir(folder);
  struct stat at {};
  seen.given = ::fstat(lone_connection + 1, &at) == 0 && at.st_ino == file.st_ino && at.st_dev == file.st_dev;
  sigset_t mask;
  ::sigprocmask(SIG_SETMASK, nullptr, &mask);
  seen.leads = ::getsid(0) != ::getsid(::getppid());
  seen.unmasked = sigismember(&mask, SIGTERM) == 0;
  return seen;
}

TEST(LoneProcess, HasWhatItWasGivenAndNothingElse) {
  const Fd file(::memfd_create("given", MFD_CLOEXEC));
  struct stat named {};
  ASSERT_EQ(::fstat(file.get(), &named), 0);
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &term, &before), 0);
  const int given[] = {file.get()};
  const auto process = start_lone_process("cloister-test", given, [&] {
    const Seen seen = look(named);
    (void)::send(lone_connection, &seen, sizeof seen, MSG_NOSIGNAL);
  });
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(process) << process.error();
  Seen seen;
  ASSERT_EQ(::recv(process->get(), &seen, sizeof seen, 0), static_cast<ssize_t>(sizeof seen));
  EXPECT_EQ(seen.open, lone_connection + 2);
  EXPECT_TRUE(seen.given);
  EXPECT_TRUE(seen.leads);
  EXPECT_TRUE(seen.unmasked);
  EXPECT_EQ(::recv(process->get(), &seen, sizeof seen, 0), 0) << "it ends with its work";
}

TEST(LoneProcess, SeesThatNobodyHasOurEnd) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd read(ends[0]);
  Fd write(ends[1]);
  const int given[] = {write.get()};
  auto process = start_lone_process("cloister-test", given, [] {
    char any = 0;
    while (::recv(lone_connection, &any, 1, 0) > 0) {
    }
  });
  ASSERT_TRUE(process) << process.error();
  write = Fd();
  *process = Fd();
  pollfd ended{.fd = read.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&ended, 1, 60'000), 1) << "it has the other end of the pipe still";
  EXPECT_NE(ended.revents & POLLHUP, 0);
}

}  // namespace
}  // namespace cloister
