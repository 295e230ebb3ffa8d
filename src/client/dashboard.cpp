// `cloister dashboard`: cloisterd's page for a browser of this machine. Requests of the browser go on to the Unix
// socket, as this user's; only GET, only from who has the key (page_key.hpp), and only those that name this very server
// as their host, so that a page from elsewhere whose name suddenly means 127.0.0.1 (DNS rebinding) learns nothing.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <httplib.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/page_key.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "http/server.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr const char* loopback = "127.0.0.1";
constexpr time_t longest_call_seconds = 10;

struct Loopback {
  Fd socket;
  int port;
};

/// port 0: any. A port that another program listens on is not shared with it.
tl::expected<Loopback, std::string> listen_on_loopback(int port) {
  const auto failed = [&] {
    return tl::unexpected(fmt::format("cannot listen on {}:{}: {}", loopback, port, std::strerror(errno)));
  };
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Connections of a server that has just ended do not keep the port from the next one.
  const int yes = 1;
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0) return failed();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const where = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), where, size) != 0 || ::listen(socket.get(), SOMAXCONN) != 0 ||
      ::getsockname(socket.get(), where, &size) != 0)
    return failed();
  return Loopback{std::move(socket), ntohs(address.sin_port)};
}

class Forwarder {
 public:
  Forwarder(std::string run_folder, int port, PageKey key)
      : run_folder_(std::move(run_folder)), port_(port), key_(std::move(key)) {}

  HttpServer::Response answer(const HttpServer::Request& request) const {
    HttpServer::Response response = judge(request);
    for (const auto& [name, value] : {std::pair{"X-Content-Type-Options", "nosniff"},
                                      {"Cross-Origin-Resource-Policy", "same-origin"},
                                      {"Referrer-Policy", "no-referrer"},
                                      {"Cache-Control", "no-store"}})
      response.fields.emplace_back(name, value);
    return response;
  }
  static HttpServer::Response refuse(int status, std::string_view why) {
    return {.status = status, .type = "text/plain", .body = fmt::format("{}\n", why)};
  }

 private:
  HttpServer::Response judge(const HttpServer::Request& request) const {
    if (request.hosts.size() != 1 || (request.hosts[0] != fmt::format("{}:{}", loopback, port_) &&
                                      request.hosts[0] != fmt::format("localhost:{}", port_)))
      return refuse(403, "this server answers to its own name only");
    const auto behind = key_.open(request);
    if (!behind) return behind.error();
    if (request.method != "GET") {
      HttpServer::Response response = refuse(405, "only GET goes through here");
      response.fields.emplace_back("Allow", "GET");
      return response;
    }
    return forward(*behind);
  }
  HttpServer::Response forward(const std::string& target) const {
    // Each time: a daemon that starts again may have a new folder.
    const DaemonSocket socket(run_folder_);
    if (socket.address().empty()) return refuse(502, "cloisterd cannot be reached: " + socket.refused());
    httplib::Client http(socket.address());
    http.set_address_family(AF_UNIX);
    http.set_read_timeout(longest_call_seconds);
    http.set_url_encode(false);
    const httplib::Result result = http.Get(target, {{"Host", "localhost"}});
    if (!result) return refuse(502, "cloisterd cannot be reached");
    HttpServer::Response response{
        .status = result->status, .type = result->get_header_value("Content-Type"), .body = result->body};
    if (const auto policy = result->get_header_value("Content-Security-Policy"); !policy.empty())
      response.fields.emplace_back("Content-Security-Policy", policy);
    return response;
  }

  std::string run_folder_;
  int port_;
  PageKey key_;
};

}  // namespace

int dashboard(const Common& common, int port) {
  // Blocked before there is a thread, and waited for.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  auto listening = listen_on_loopback(port);
  if (!listening) {
    fmt::print(stderr, "cloister: {}\n", listening.error());
    return exit_status::failed;
  }
  auto key = PageKey::make();
  if (!key) {
    fmt::print(stderr, "cloister: {}\n", key.error());
    return exit_status::failed;
  }
  const std::string address = fmt::format("http://{}:{}{}\n", loopback, listening->port, key->entrance());
  const Forwarder forwarder(common.run_folder, listening->port, std::move(*key));
  const HttpServer server(std::move(listening->socket),
                          {.handle = [&](const HttpServer::Request& request) { return forwarder.answer(request); },
                           .reject =
                               [](int status, const Peer&, const std::string& why) {
                                 return Forwarder::refuse(status, why.empty() ? "not a request for this server" : why);
                               }});
  if (!toolstack::print(address)) return exit_status::failed;
  int number = 0;
  ::sigwait(&signals, &number);
  return 0;
}

}  // namespace cloister::toolstack::client
