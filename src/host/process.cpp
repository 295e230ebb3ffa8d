// posix_spawn(3) rather than fork(2): this process has threads.
#include "host/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstring>
#include <vector>

#include "host/pidfd.hpp"

namespace cloister::toolstack {

namespace {

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

tl::expected<Process, std::string> spawn(const std::string& program, const std::vector<std::string>& arguments,
                                         std::span<const int> descriptors) {
  const auto failed = [&](int error) {
    return tl::unexpected("cannot start " + program + ": " + std::strerror(error));
  };
  Actions files;
  // Numbers above those of the program, so that no dup2() overwrites what a later one needs.
  const int above = static_cast<int>(descriptors.size());
  std::vector<Fd> copies;
  for (std::size_t number = 0; number < descriptors.size(); ++number) {
    if (descriptors[number] < 0) {
      ::posix_spawn_file_actions_addclose(&files.actions, static_cast<int>(number));
      continue;
    }
    copies.emplace_back(::fcntl(descriptors[number], F_DUPFD_CLOEXEC, above));
    if (!copies.back()) return failed(errno);
    ::posix_spawn_file_actions_adddup2(&files.actions, copies.back().get(), static_cast<int>(number));
  }
  // Whatever a library opened without close-on-exec.
  ::posix_spawn_file_actions_addclosefrom_np(&files.actions, static_cast<int>(descriptors.size()));
  Attributes how;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&how.attributes, &none);
  ::posix_spawnattr_setsigdefault(&how.attributes, &all);
  ::posix_spawnattr_setflags(&how.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);

  std::vector<std::string> words = arguments;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* const environment[] = {nullptr};
  Process process;
  if (const int error =
          ::posix_spawn(&process.pid, program.c_str(), &files.actions, &how.attributes, argv.data(), environment))
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

std::string reap(int pidfd) {
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG) != 0) return {};
  if (info.si_pid == 0) return {};
  if (info.si_code == CLD_EXITED) return "exit status " + std::to_string(info.si_status);
  if (info.si_status == SIGSYS) return "SIGSYS: it made a system call that its filter forbids";
  const char* const name = ::sigabbrev_np(info.si_status);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(info.si_status);
}

}  // namespace cloister::toolstack
