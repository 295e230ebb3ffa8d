// The mode is set before anybody can connect: connecting needs write permission on the socket's file.
#include "toolstack/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace cloister::toolstack {

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

tl::expected<Fd, std::string> listen_at(const std::string& path, int type, unsigned mode) {
  const auto failed = [&](const char* what) {
    return tl::unexpected(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
  };
  const auto address = unix_address(path);
  if (!address) {
    return tl::unexpected(
        fmt::format("{}: too long for a socket, {} bytes at most", path, sizeof sockaddr_un::sun_path - 1));
  }
  Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket) return failed("make a socket for");
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) return failed("bind");
  if (::chmod(path.c_str(), mode) != 0) return failed("set the mode of");
  if (::listen(socket.get(), SOMAXCONN) != 0) return failed("listen on");
  return socket;
}

Peer peer_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {};
  Peer peer{credentials.pid, credentials.uid, credentials.gid};
  // Of too small a buffer the kernel says how large it should be.
  static_assert(sizeof(gid_t) == sizeof(unsigned));
  socklen_t groups = 0;
  while (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &groups) != 0) {
    if (errno != ERANGE) return {};
    peer.groups.resize(groups / sizeof(unsigned));
  }
  peer.groups.resize(groups / sizeof(unsigned));
  return peer;
}

}  // namespace cloister::toolstack
