#include "run/gdb_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

namespace cloister::toolstack {

namespace {

std::optional<struct stat> socket_at(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return status;
}

Fd unix_socket() { return Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

}  // namespace

tl::expected<GdbSocket, std::string> GdbSocket::listen(const std::string& path) {
  const auto failed = [&](const char* why) { return tl::unexpected("gdb socket " + path + ": " + why); };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return failed(std::strerror(ENAMETOOLONG));
  std::copy(path.begin(), path.end(), address.sun_path);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);

  if (socket_at(path)) {
    const Fd probe = unix_socket();
    if (!probe) return failed(std::strerror(errno));
    if (::connect(probe.get(), name, sizeof address) == 0 || errno != ECONNREFUSED)
      return failed("there is a socket already, which somebody may listen on");
    ::unlink(path.c_str());
  }
  GdbSocket socket(path, unix_socket());
  if (!socket.fd_ || ::bind(socket.fd_.get(), name, sizeof address) != 0) return failed(std::strerror(errno));
  if (const auto made = socket_at(path)) {
    socket.device_ = made->st_dev;
    socket.inode_ = made->st_ino;
  }
  if (::listen(socket.fd_.get(), 1) != 0) return failed(std::strerror(errno));
  return socket;
}

GdbSocket::~GdbSocket() {
  if (!fd_ || inode_ == 0) return;
  const auto now = socket_at(path_);
  if (now && now->st_dev == device_ && now->st_ino == inode_) ::unlink(path_.c_str());
}

}  // namespace cloister::toolstack
