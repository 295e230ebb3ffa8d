// posix_spawn(3) rather than fork(2): this process has threads.
#include "toolstack/daemon/spawn.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstring>
#include <vector>

#include "toolstack/daemon/pidfd.hpp"

namespace cloister::toolstack {

namespace {

/// Numbers from here on are no launch descriptor's, so that no dup2() overwrites what a later one needs.
constexpr int above_launch = 64;

struct Actions {
  Actions() { ::posix_spawn_file_actions_init(&actions); }
  ~Actions() { ::posix_spawn_file_actions_destroy(&actions); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  posix_spawn_file_actions_t actions;
};

struct Attributes {
  Attributes() { ::posix_spawnattr_init(&attributes); }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  posix_spawnattr_t attributes;
};

}  // namespace

tl::expected<Process, std::string> spawn_vmm(const std::string& vmm, const LaunchDescriptors& descriptors) {
  const auto failed = [&](int error) { return tl::unexpected("cannot start " + vmm + ": " + std::strerror(error)); };
  Actions files;
  std::vector<Fd> copies;
  ::posix_spawn_file_actions_addopen(&files.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  for (std::size_t i = 0; i < descriptors.all().size(); ++i) {
    const int number = launch_fd::first + static_cast<int>(i);
    if (descriptors.all()[i] < 0) {
      ::posix_spawn_file_actions_addclose(&files.actions, number);
      continue;
    }
    copies.emplace_back(::fcntl(descriptors.all()[i], F_DUPFD_CLOEXEC, above_launch));
    if (!copies.back()) return failed(errno);
    ::posix_spawn_file_actions_adddup2(&files.actions, copies.back().get(), number);
  }
  // httplib accepts connections that are not close-on-exec.
  ::posix_spawn_file_actions_addclosefrom_np(&files.actions, launch_fd::last + 1);
  Attributes how;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&how.attributes, &none);
  ::posix_spawnattr_setsigdefault(&how.attributes, &all);
  ::posix_spawnattr_setflags(&how.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);

  std::string program = vmm;
  char* const arguments[] = {program.data(), nullptr};
  char* const environment[] = {nullptr};
  Process process;
  if (const int error =
          ::posix_spawn(&process.pid, vmm.c_str(), &files.actions, &how.attributes, arguments, environment))
    return failed(error);
  // Nobody but reap() takes its status, so the number is still its own.
  process.pidfd = Fd(::pidfd_open(process.pid, 0));
  if (!process.pidfd) {
    const int error = errno;
    ::kill(process.pid, SIGKILL);
    ::waitpid(process.pid, nullptr, 0);
    return failed(error);
  }
  return process;
}

bool wait_for_end(int pidfd, int milliseconds) {
  pollfd wait{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, milliseconds) > 0;
}

void reap(int pidfd) {
  siginfo_t ignored;
  ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &ignored, WEXITED | WNOHANG);
}

}  // namespace cloister::toolstack
