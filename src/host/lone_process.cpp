// What a process inherits by fork(2) and a lone one shall not have: descriptors, dispositions and mask of signals,
// terminal.
#include "host/lone_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace cloister {

namespace {

/// False: there are no more descriptors to be had.
bool keep_only(int connection, std::span<const int> given) {
  const int behind = lone_connection + 1 + static_cast<int>(given.size());
  // First to numbers at which nothing is put.
  const int nothing = ::open("/dev/null", O_RDWR);
  std::vector<int> kept{::fcntl(connection, F_DUPFD, behind)};
  for (const int one : given) kept.push_back(::fcntl(one, F_DUPFD, behind));
  if (nothing < 0) return false;
  for (int number = 0; number < lone_connection; ++number)
    if (::dup2(nothing, number) < 0) return false;
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (kept[i] < 0 || ::dup2(kept[i], lone_connection + static_cast<int>(i)) < 0) return false;
  return ::close_range(static_cast<unsigned>(behind), ~0U, 0) == 0;
}

[[noreturn]] void run_alone(const char* name, int connection, std::span<const int> given,
                            const std::function<void()>& work) {
  ::setsid();
  ::prctl(PR_SET_NAME, name);
  if (!keep_only(connection, given)) ::_exit(1);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(one, one == SIGPIPE ? SIG_IGN : SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  work();
  ::_exit(0);
}

}  // namespace

tl::expected<Fd, std::string> start_lone_process(const char* name, std::span<const int> given,
                                                 const std::function<void()>& work) {
  int ends[2];
  const auto failed = [] { return tl::unexpected(std::string(std::strerror(errno))); };
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return failed();
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return failed();
  if (child == 0) {
    // Its parent ends at once, and init waits for it.
    if (::fork() != 0) ::_exit(0);
    run_alone(name, theirs.get(), given, work);
  }
  ::waitpid(child, nullptr, 0);
  return ours;
}

}  // namespace cloister
