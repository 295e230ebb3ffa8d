// The daemon's death before and after each step of a creation that can be told from outside: the next daemon undoes
// what has no guest, and keeps what may have one.
#include "unit/daemon/doomed_daemon.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {

int run_doomed_daemon(const std::string& folder, int point) {
  if (point > doomed_balloon) return run_doomed_balloon(folder, point - doomed_balloon);
  if (point > doomed_sharing) return run_doomed_sharing(folder, point - doomed_sharing);
  TestDaemon daemon(folder);
  if (!daemon.start()) return 1;
  daemon.faults.die(point);
  if (!daemon.add("a")) return 1;
  // Without an end of anything.
  ::_exit(0);
}

int doom(const std::string& folder, int point) {
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int descriptors[] = {nothing.get(), STDOUT_FILENO, STDERR_FILENO};
  const auto process = spawn("/proc/self/exe", {"daemon", doomed_word, folder, std::to_string(point)}, descriptors);
  EXPECT_TRUE(process);
  int status = 0;
  EXPECT_EQ(::waitpid(process->pid, &status, 0), process->pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

namespace {

enum class Kept : u8 { nothing, creating, running };

/// The record that a daemon left.
Kept kept_by(const TestDaemon& daemon) {
  const auto records = daemon.registry().read();
  EXPECT_TRUE(records && records->unread.empty() && records->domains.size() <= 1);
  if (records->domains.empty()) return Kept::nothing;
  return records->domains[0].running ? Kept::running : Kept::creating;
}

TEST(DoomedDaemon, LeavesADomainOrNothing) {
  std::set<Kept> seen;
  for (int point = 1, status = Faults::died; status != 0; ++point) {
    SCOPED_TRACE("point " + std::to_string(point));
    const Folder folder;
    status = doom(folder.path(), point);
    ASSERT_TRUE(status == 0 || status == Faults::died) << status;
    TestDaemon next(folder.path());
    const Kept kept = kept_by(next);
    seen.insert(kept);
    if (status == 0) {
      EXPECT_EQ(kept, Kept::running);
    }
    next.restart();
    if (status == 0) {
      EXPECT_EQ(next.shown("a"), "running") << "the guest may run, and nobody but its user ends it";
      EXPECT_EQ(next->epc().count.granted, 256u);
      EXPECT_TRUE(next->destroy("a"));
    } else {
      // Nobody let the guest run: its VMM ends by itself, and it may have been found before that.
      next.wait_until("a", "");
      EXPECT_EQ(next.steps().empty(), kept == Kept::nothing);
    }
    // Of one that ended before the next daemon looked, nobody was there to reap it.
    while (::waitpid(-1, nullptr, 0) > 0) continue;
    EXPECT_EQ(next.left(), "");
    EXPECT_TRUE(next.add("a")) << "the name is free";
  }
  EXPECT_EQ(seen, (std::set{Kept::nothing, Kept::creating, Kept::running}));
}

}  // namespace
}  // namespace cloister::tests
