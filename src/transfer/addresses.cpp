#include "transfer/addresses.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "arch/try.hpp"

namespace cloister::toolstack {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

tl::expected<Addresses, std::string> look_up(const HostPort& what, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(what.host.empty() ? nullptr : what.host.c_str(), what.port.c_str(), &hints, &found);
  if (error != 0) return tl::unexpected(fmt::format("{}: {}", what.host, ::gai_strerror(error)));
  return Addresses(found, ::freeaddrinfo);
}

/// 0: it is connected; else the error.
int wait_for_connection(int socket, std::chrono::milliseconds in) {
  pollfd wait{.fd = socket, .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&wait, 1, static_cast<int>(in.count()));
  if (ready <= 0) return ready == 0 ? ETIMEDOUT : errno;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

tl::expected<HostPort, std::string> read_host_port(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  HostPort read;
  if (colon != std::string::npos) {
    read.host = text.substr(0, colon);
    read.port = text.substr(colon + 1);
  }
  const bool bracketed = read.host.size() > 2 && read.host.front() == '[' && read.host.back() == ']';
  if (bracketed) read.host = read.host.substr(1, read.host.size() - 2);
  const bool number = !read.port.empty() && read.port.size() <= 5 &&
                      read.port.find_first_not_of("0123456789") == std::string::npos && std::stoul(read.port) <= 65535;
  if (!number || read.host.empty() || (!bracketed && read.host.find(':') != std::string::npos) ||
      read.host.find_first_of("/[] ") != std::string::npos)
    return tl::unexpected(fmt::format("found '{}', expected HOST:PORT", text));
  return read;
}

tl::expected<Fd, std::string> reach_tcp(const HostPort& to, std::chrono::milliseconds in) {
  const auto found = TRY(look_up(to, AI_ADDRCONFIG));
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    Fd socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
      error = errno;
      continue;
    }
    error = ::connect(socket.get(), one->ai_addr, one->ai_addrlen) == 0 ? 0
            : errno == EINPROGRESS                                      ? wait_for_connection(socket.get(), in)
                                                                        : errno;
    if (error != 0) continue;
    prepare_tcp(socket.get());
    return socket;
  }
  return tl::unexpected(fmt::format("{} port {}: {}", to.host, to.port, std::strerror(error)));
}

tl::expected<std::vector<Fd>, std::string> listen_tcp(const HostPort& at) {
  const auto found = TRY(look_up(at, AI_PASSIVE));
  std::vector<Fd> all;
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    Fd socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int yes = 1;
    if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        (one->ai_family == AF_INET6 && ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) != 0) ||
        ::bind(socket.get(), one->ai_addr, one->ai_addrlen) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
      error = errno;
      continue;
    }
    all.push_back(std::move(socket));
  }
  if (all.empty()) return tl::unexpected(fmt::format("{} port {}: {}", at.host, at.port, std::strerror(error)));
  return all;
}

void prepare_tcp(int socket) {
  const int yes = 1, idle = 30, between = 10, count = 6;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

}  // namespace cloister::toolstack
