// Descriptors of a packet that is refused are closed with it.
#include "host/packet.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<PacketError>;

/// Aligned as its first header must be.
struct ControlBuffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * most_descriptors)> bytes{};
};

PacketError error_of(int error) {
  return error == EAGAIN || error == EWOULDBLOCK ? PacketError::waits : PacketError::closed;
}

std::vector<Fd> take_descriptors(msghdr& message) {
  std::vector<Fd> taken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      taken.emplace_back(fd);
    }
  }
  return taken;
}

}  // namespace

const char* name_of(PacketError error) {
  switch (error) {
    case PacketError::closed: return "it has gone";
    case PacketError::waits: return "it does not answer";
    case PacketError::malformed: return "it sent what is no message";
  }
  return "unknown";
}

tl::expected<Packet, PacketError> receive_packet(int socket) {
  std::string text(longest_packet, '\0');
  ControlBuffer control;
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Failed(error_of(errno));
  Packet packet{.body = {}, .descriptors = take_descriptors(message)};
  if (got == 0) return Failed(PacketError::closed);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Failed(PacketError::malformed);
  auto body = parse_object(std::string_view(text).substr(0, static_cast<std::size_t>(got)));
  if (!body) return Failed(PacketError::malformed);
  packet.body = std::move(*body);
  return packet;
}

tl::expected<void, PacketError> send_packet(int socket, const nlohmann::json& body, std::span<const int> descriptors) {
  std::string text = json_text(body);
  if (text.size() > longest_packet || descriptors.size() > most_descriptors) return Failed(PacketError::malformed);
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Failed(error_of(errno));
  return {};
}

}  // namespace cloister::toolstack
