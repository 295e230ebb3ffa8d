// fork(2) without exec(3): the process that starts it has one thread, or nothing that the new one would need of others.
#include "host/vsock_connector.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "host/unix_socket.hpp"

namespace cloister {

namespace {

constexpr int connection_number = 3;  // the connection's number in the new process

/// With a descriptor beside it, if there is one. False: nobody takes it.
bool answer_asker(const ConnectorMessage& message, const Fd& socket) {
  iovec bytes{.iov_base = const_cast<ConnectorMessage*>(&message), .iov_len = sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> beside{};
  msghdr packet{};
  packet.msg_iov = &bytes;
  packet.msg_iovlen = 1;
  if (socket) {
    packet.msg_control = beside.data();
    packet.msg_controllen = beside.size();
    cmsghdr* const head = CMSG_FIRSTHDR(&packet);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = socket.get();
    std::memcpy(CMSG_DATA(head), &number, sizeof number);
  }
  return ::sendmsg(connection_number, &packet, MSG_NOSIGNAL) == sizeof message;
}

/// Whoever does not accept holds up nobody: a full backlog is an answer, too.
void serve_askers(const std::string& path) {
  for (;;) {
    ConnectorMessage message;
    const ssize_t got = ::recv(connection_number, &message, sizeof message, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof message) return;
    const Fd socket = toolstack::connect_to(path + "_" + std::to_string(message.port), SOCK_STREAM | SOCK_NONBLOCK);
    if (!answer_asker(message, socket)) return;
  }
}

/// Nothing that it has inherited stays open.
[[noreturn]] void become_connector(int connection, const std::string& path) {
  ::setsid();
  ::prctl(PR_SET_NAME, "cloister-vsock");
  const int nothing = ::open("/dev/null", O_RDWR);
  for (int number = 0; number < connection_number; ++number) ::dup2(nothing, number);
  if (connection != connection_number) ::dup2(connection, connection_number);
  ::close_range(connection_number + 1, ~0U, 0);
  for (const int one : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(one, one == SIGPIPE ? SIG_IGN : SIG_DFL);
  serve_askers(path);
  ::_exit(0);
}

}  // namespace

tl::expected<Fd, std::string> start_connector(const std::string& path) {
  int ends[2];
  const auto failed = [] { return tl::unexpected(std::string(std::strerror(errno))); };
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return failed();
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return failed();
  if (child == 0) {
    // A process of its own, which nobody waits for: its parent ends at once.
    if (::fork() != 0) ::_exit(0);
    become_connector(theirs.get(), path);
  }
  ::waitpid(child, nullptr, 0);
  return ours;
}

std::optional<bool> receive_from_connector(int connection, ConnectorMessage& message, Fd& socket) {
  iovec bytes{.iov_base = &message, .iov_len = sizeof message};
  // Room for one descriptor and no more: the kernel closes the others.
  alignas(cmsghdr) std::array<char, CMSG_LEN(sizeof(int))> beside{};
  msghdr packet{};
  packet.msg_iov = &bytes;
  packet.msg_iovlen = 1;
  packet.msg_control = beside.data();
  packet.msg_controllen = beside.size();
  const ssize_t got = ::recvmsg(connection, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  for (cmsghdr* head = got < 0 ? nullptr : CMSG_FIRSTHDR(&packet); head != nullptr; head = CMSG_NXTHDR(&packet, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int)))
      continue;
    int number = -1;
    std::memcpy(&number, CMSG_DATA(head), sizeof number);
    socket = Fd(number);
  }
  return got == sizeof message;
}

}  // namespace cloister
