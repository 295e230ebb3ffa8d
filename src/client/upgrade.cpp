// A request after which its connection is no HTTP any more: cpp-httplib keeps its sockets to itself.
#include <fmt/format.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "client/api.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "host/unix_socket.hpp"
#include "text/json_text.hpp"

namespace cloister::toolstack::client {

namespace {

constexpr std::size_t longest_head = 16 << 10, longest_body = 1 << 20;
constexpr std::string_view head_end = "\r\n\r\n";

/// Byte by byte: what follows the head is not HTTP's. False: it ends before.
bool read_head(int socket, int patience_ms, std::string& head) {
  while (!head.ends_with(head_end)) {
    pollfd wait{.fd = socket, .events = POLLIN, .revents = 0};
    if (head.size() >= longest_head || ::poll(&wait, 1, patience_ms) <= 0) return false;
    char byte = 0;
    if (::recv(socket, &byte, 1, 0) != 1) return false;
    head += byte;
  }
  return true;
}

std::string read_rest(int socket) {
  std::string rest;
  char piece[4096];
  ssize_t got = 0;
  while (rest.size() < longest_body && (got = ::recv(socket, piece, sizeof piece, 0)) > 0)
    rest.append(piece, static_cast<std::size_t>(got));
  return rest;
}

std::string field(const std::string& head, std::string_view name) {
  const std::string start = fmt::format("\r\n{}: ", name);
  const std::size_t at = head.find(start);
  if (at == std::string::npos) return {};
  const std::size_t from = at + start.size();
  return head.substr(from, head.find("\r\n", from) - from);
}

}  // namespace

Answer<Api::Upgraded> Api::upgrade(const std::string& path, const Json& body) const {
  const auto failed = [&](const std::string& why) {
    return tl::unexpected(
        Failure{fmt::format("cloister: cannot reach cloisterd at {}: {}", socket_.shown(), why), exit_status::failed});
  };
  if (socket_.address().empty()) return failed(socket_.refused());
  Fd socket = connect_to(socket_.address(), SOCK_STREAM);
  if (!socket) return failed(std::strerror(errno));
  const std::string text = json_text(body);
  const std::string request = fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: cloister-move\r\n"
      "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      path, text.size(), text);
  std::string head;
  if (!write_all(socket.get(), {reinterpret_cast<const u8*>(request.data()), request.size()}) ||
      !read_head(socket.get(), static_cast<int>(for_an_answer_.count()), head))
    return failed("no answer came");
  if (!head.starts_with("HTTP/1.1 ")) return failed("found no answer of HTTP");
  if (head.starts_with("HTTP/1.1 101 "))
    return Upgraded{std::move(socket), field(head, "Cloister-Session"), field(head, "Cloister-Answer")};
  httplib::Response response;
  response.status = std::atoi(head.c_str() + std::strlen("HTTP/1.1 "));
  response.body = read_rest(socket.get());
  return tl::unexpected(failure_of(response));
}

}  // namespace cloister::toolstack::client
