// fork(2) rather than posix_spawn(3), which cannot ask for a signal at the parent's death. This process has threads, so
// the child calls nothing but what signal-safety(7) allows.
#include "interop/qemu/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/pidfd.hpp"
#include "host/whole_file.hpp"

namespace cloister::toolstack::qemu {

namespace {

struct Child {
  pid_t pid;
  Fd pidfd;
};

/// descriptors: what becomes 0, 1 and so on in the child.
tl::expected<Child, std::string> spawn(const std::string& program, std::vector<std::string> arguments,
                                       const std::vector<int>& descriptors) {
  const auto failed = [&] { return tl::unexpected("cannot start " + program + ": " + std::strerror(errno)); };
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // Numbers above those of the child, so that no dup2() overwrites what a later one needs.
  std::vector<Fd> copies;
  for (const int fd : descriptors) {
    copies.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, static_cast<int>(descriptors.size())));
    if (!copies.back()) return failed();
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return failed();
  if (pid == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGXFSZ, SIG_DFL);
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (::dup2(copies[i].get(), static_cast<int>(i)) < 0) ::_exit(127);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  // Nobody but reap() takes its status, so the number is still its own.
  Child child{pid, Fd(::pidfd_open(pid, 0))};
  if (child.pidfd) return child;
  const auto failure = failed();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return failure;
}

std::string wait_for(int pidfd) {
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
    if (errno != EINTR) return std::strerror(errno);
  }
  return (info.si_code == CLD_EXITED ? "status " : "signal ") + std::to_string(info.si_status);
}

}  // namespace

tl::expected<Process, std::string> Process::start(const std::string& program, std::vector<std::string> arguments,
                                                  int standard_input) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return tl::unexpected(std::string("cannot make a socket: ") + std::strerror(errno));
  Fd ours(ends[0]), theirs(ends[1]);
  auto child = TRY(spawn(program, std::move(arguments), {standard_input, STDOUT_FILENO, STDERR_FILENO, theirs.get()}));
  return Process(std::move(child.pidfd), std::move(ours));
}

Process::~Process() {
  if (!pidfd_) return;
  kill();
  reap();
}

void Process::kill() { ::pidfd_send_signal(pidfd_.get(), SIGKILL, nullptr, 0); }

std::string Process::reap() {
  std::string end = wait_for(pidfd_.get());
  pidfd_ = Fd();
  return end;
}

tl::expected<std::string, std::string> output_of(const std::string& program, std::vector<std::string> arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(std::string("cannot make a pipe: ") + std::strerror(errno));
  Fd ours(ends[0]), theirs(ends[1]);
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto child = TRY(spawn(program, std::move(arguments), {nothing.get(), theirs.get(), theirs.get()}));
  theirs = Fd();
  const auto bytes = read_within(ours.get(), longest_text);
  // Of one that writes without end nobody waits for the end.
  if (!bytes) ::pidfd_send_signal(child.pidfd.get(), SIGKILL, nullptr, 0);
  wait_for(child.pidfd.get());
  if (!bytes) return tl::unexpected(bytes.error());
  return std::string(bytes->begin(), bytes->end());
}

}  // namespace cloister::toolstack::qemu
