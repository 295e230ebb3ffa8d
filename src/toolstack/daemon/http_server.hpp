// cpp-httplib on a Unix socket: one request a connection, with limits on its length and its time, and the other end's
// credentials beside it. httplib's own routing is not used: each request goes to one function.
#pragma once

#include <httplib.h>

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "toolstack/unix_socket.hpp"

namespace cloister::toolstack {

class HttpServer : private httplib::Server {
 public:
  static constexpr std::size_t longest_request = 1 << 20, longest_path = 512;

  struct Request {
    std::string method, path, body;
    Peer peer;
    std::multimap<std::string, std::string> query;
  };
  struct Response {
    int status = 200;
    std::string type, body, allow;
    std::string content_security_policy{};
  };
  /// `refuse` says before the body is read that there is no use in it. `handle` is called on any of a few threads. What
  /// it throws is answered with 500.
  struct Handlers {
    std::function<std::optional<Response>(const std::string& method, const std::string& path, const Peer& peer)> refuse;
    std::function<Response(const Request& request)> handle;
    /// What httplib itself refuses, or a request that is too long.
    std::function<Response(int status, const Peer& peer)> reject;
  };
  /// listening: a SOCK_STREAM socket.
  HttpServer(Fd listening, Handlers handlers);
  /// Waits for the requests that are being answered.
  ~HttpServer() override;

 private:
  bool process_and_close_socket(socket_t socket) override;
  httplib::Server::HandlerResponse before(const httplib::Request& request, httplib::Response& response) const;
  void answer(const httplib::Request& request, httplib::Response& response) const;
  void reject(httplib::Response& response) const;

  Handlers handlers_;
  std::thread thread_;
};

}  // namespace cloister::toolstack
