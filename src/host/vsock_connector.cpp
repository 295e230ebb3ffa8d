// A lone process: a fork without exec(3), with its starter's rights.
#include "host/vsock_connector.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "host/lone_process.hpp"
#include "host/unix_socket.hpp"

namespace cloister {

namespace {

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
  return ::sendmsg(lone_connection, &packet, MSG_NOSIGNAL) == sizeof message;
}

/// Whoever does not accept holds up nobody: a full backlog is an answer, too.
void serve_askers(const std::string& path) {
  for (;;) {
    ConnectorMessage message;
    const ssize_t got = ::recv(lone_connection, &message, sizeof message, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof message) return;
    const Fd socket = toolstack::connect_to(path + "_" + std::to_string(message.port), SOCK_STREAM | SOCK_NONBLOCK);
    if (!answer_asker(message, socket)) return;
  }
}

}  // namespace

tl::expected<Fd, std::string> start_connector(const std::string& path) {
  return start_lone_process("cloister-vsock", {}, [&] { serve_askers(path); });
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
