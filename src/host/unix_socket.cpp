// The mode is set before anybody can connect: connecting needs write permission on the socket's file.
#include "host/unix_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace cloister::toolstack {

sockaddr_un unix_address(int folder, std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder, name);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

tl::expected<Fd, std::string> listen_at(int folder, const std::string& name, int type, unsigned mode,
                                        const std::string& parent) {
  const std::string path = parent + "/" + name;
  const auto failed = [&](const char* what) {
    return tl::unexpected(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
  };
  Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket) return failed("make a socket for");
  struct stat old {};
  if (::fstatat(folder, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISSOCK(old.st_mode) || old.st_uid != ::geteuid())
      return tl::unexpected(path + ": it is there, and no socket of this user's");
    if (::unlinkat(folder, name.c_str(), 0) != 0) return failed("replace");
  }
  const sockaddr_un address = unix_address(folder, name);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return failed("bind");
  if (::fchmodat(folder, name.c_str(), mode, 0) != 0) return failed("set the mode of");
  if (::listen(socket.get(), SOMAXCONN) != 0) return failed("listen on");
  return socket;
}

Fd connect_to(const std::string& path, int type) {
  const std::filesystem::path whole(path);
  const std::string parent = whole.has_parent_path() ? whole.parent_path().string() : ".";
  const std::string name = whole.filename();
  const Fd folder(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!folder || !socket) return Fd();
  const sockaddr_un address = unix_address(folder.get(), name);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
  const int reason = errno;
  socket = Fd();
  errno = reason;
  return Fd();
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
