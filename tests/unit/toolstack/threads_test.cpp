// Threads on a host that gives too few of them: here for want of addresses for their stacks.
#include "host/threads.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "arch/types.hpp"
#include "sanitized.hpp"

namespace cloister::toolstack {
namespace {

/// Whether `act` holds in a process of its own that may have so many more bytes of address space.
bool holds_with(u64 more, bool (*act)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    u64 pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t bytes = pages * static_cast<u64>(::getpagesize()) + more;
    const rlimit limit{bytes, bytes};
    ::_exit(::setrlimit(RLIMIT_AS, &limit) == 0 && act() ? 0 : 1);
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Threads, AreAsManyAsTheHostGives) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's address space is its own";
  EXPECT_TRUE(holds_with(u64{64} << 20, [] {
    std::vector<std::thread> threads;
    const std::string few = add_threads(threads, 100, [] {});
    const std::size_t have = threads.size();
    for (std::thread& thread : threads) thread.join();
    return have > 0 && have < 100 && few.starts_with(std::to_string(have) + " threads instead of 100: ");
  }));
}

TEST(Threads, NoneAtAllIsAnError) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer's address space is its own";
  EXPECT_TRUE(holds_with(0, [] {
    std::vector<std::thread> threads;
    try {
      return !add_threads(threads, 2, [] {}).empty() && false;
    } catch (const std::system_error& error) {
      return threads.empty() && std::string(error.what()).starts_with("no thread can be started: ");
    }
  }));
}

TEST(Threads, AreAllThatWereAskedFor) {
  std::vector<std::thread> threads;
  EXPECT_EQ(add_threads(threads, 3, [] {}), "");
  EXPECT_EQ(threads.size(), 3u);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cloister::toolstack
