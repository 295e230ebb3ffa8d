// Who a number of a process was: never another one, and never dead for want of a look.
#include "daemon/process_identity.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace cloister::toolstack {
namespace {

/// A child that waits for the end of its parent's descriptor.
class Child {
 public:
  Child() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      char byte;
      ::close(ends[1]);
      ::_exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    ::close(ends[0]);
    alive_ = Fd(ends[1]);
  }
  ~Child() {
    end();
    if (pid_ != 0) ::waitpid(pid_, nullptr, 0);
  }
  int pid() const { return pid_; }
  void end() { alive_ = Fd(); }
  void reap() { ::waitpid(std::exchange(pid_, 0), nullptr, 0); }

 private:
  int pid_ = 0;
  Fd alive_;
};

Absence absence_of(const ProcessIdentity& process) {
  const auto opened = open_process(process);
  EXPECT_FALSE(opened);
  return opened ? Absence::unknown : opened.error();
}

TEST(HostStart, IsThatOfItsFirstProcessToo) {
  const auto now = host_start();
  ASSERT_TRUE(now);
  const auto first = identity_of(1);
  ASSERT_EQ(now->first_process, first ? std::optional(first->start) : std::nullopt);
  EXPECT_EQ(host_start(), now);
  HostStart known = *now, other, less;
  known.first_process = 7;
  other = less = known;
  other.first_process = 8;
  less.first_process.reset();
  less.pid_namespace = 0;
  EXPECT_FALSE(same_start(known, other)) << "the namespace's number is used again";
  EXPECT_TRUE(same_start(known, less));
  EXPECT_TRUE(same_start(less, known));
  EXPECT_EQ(joined(less, known), known);
  EXPECT_EQ(joined(known, less), known);
}

TEST(ProcessIdentity, IsOfThatProcessOnly) {
  const Child child;
  const auto identity = identity_of(child.pid());
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->pid, child.pid());
  EXPECT_NE(identity->start, 0u);
  EXPECT_TRUE(open_process(*identity));
  EXPECT_EQ(identity_of(child.pid()), identity) << "it does not change";
  ProcessIdentity other = *identity;
  --other.start;
  EXPECT_EQ(absence_of(other), Absence::dead) << "the number is used again";
  other = *identity;
  other.boot.front() = other.boot.front() == '0' ? '1' : '0';
  EXPECT_EQ(absence_of(other), Absence::dead) << "the machine was started anew";
}

TEST(ProcessIdentity, AProcessThatHasEndedIsDeadEvenIfNobodyTookItsStatus) {
  Child child;
  const auto identity = identity_of(child.pid());
  ASSERT_TRUE(identity);
  const auto held = open_process(*identity);
  ASSERT_TRUE(held);
  child.end();
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(absence_of(*identity), Absence::dead) << "a zombie";
  child.reap();
  EXPECT_EQ(absence_of(*identity), Absence::dead);
  EXPECT_FALSE(identity_of(identity->pid));
}

TEST(ProcessIdentity, WithoutDescriptorsNobodyIsDead) {
  const Child child;
  const auto identity = identity_of(child.pid());
  ASSERT_TRUE(identity);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest = ::dup(STDERR_FILENO);
  ::close(lowest);
  for (const int room : {0, 1}) {
    const rlimit few{.rlim_cur = static_cast<rlim_t>(lowest + room), .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    const Absence absence = absence_of(*identity);
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_EQ(absence, Absence::unknown) << room << " descriptors";
  }
  EXPECT_TRUE(open_process(*identity));
}

/// A child that runs sleep(1), called as given.
class Sleeper {
 public:
  explicit Sleeper(std::string title) {
    char* const arguments[] = {title.data(), const_cast<char*>("60"), nullptr};
    EXPECT_EQ(::posix_spawn(&pid_, "/usr/bin/sleep", nullptr, nullptr, arguments, environ), 0);
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  int pid_ = 0;
};

TEST(ProcessIdentity, AVmmIsFoundByItsTitle) {
  const Fd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), other(::open("/proc", O_RDONLY | O_CLOEXEC));
  const std::string title = vmm_title(7, folder.get());
  EXPECT_FALSE(may_have_vmm("/no/such-program", title));
  const Sleeper sleeper(title);
  EXPECT_TRUE(may_have_vmm("/usr/bin/sleep", title));
  EXPECT_NE(vmm_title(8, folder.get()), title);
  EXPECT_NE(vmm_title(7, other.get()), title);
}

TEST(ProcessIdentity, AVmmWithoutATitleMayBeAny) {
  const Sleeper sleeper("sleep");
  EXPECT_TRUE(may_have_vmm("/usr/bin/sleep", vmm_title(7, STDERR_FILENO)));
}

}  // namespace
}  // namespace cloister::toolstack
