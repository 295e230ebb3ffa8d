// An HTTP server on any listening socket: one request a connection, each handed to one function, with the other end's
// credentials beside it. cpp-httplib reads a request's text and writes its answer's; it never has a socket.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http/connections.hpp"
#include "http/preconditions.hpp"

namespace cloister::toolstack {

class HttpServer {
 public:
  static constexpr std::size_t longest_path = 512;

  struct Request {
    std::string method, path, body;
    Peer peer;
    std::multimap<std::string, std::string> query;
    std::string target{};                ///< path and query as they came, still encoded
    std::vector<std::string> hosts{};    ///< the values of Host: one, in a request that keeps to HTTP
    std::vector<std::string> cookies{};  ///< the values of Cookie
    /// Who changes something looks at them; an answer to GET that has an ETag is judged here.
    Preconditions conditions{};
    std::string upgrade{};  ///< the value of Upgrade: what else the client speaks
    int connection = -1;    ///< its socket, borrowed: for who answers 101, and takes it
  };
  struct Response {
    int status = 200;
    std::string type, body;
    std::vector<std::pair<std::string, std::string>> fields{};  ///< more header fields
  };
  struct Handlers {
    /// Answers a request that is there as a whole, of any method that HTTP knows. On any of a few threads. What it
    /// throws is answered with 500.
    std::function<Response(const Request& request)> handle;
    /// The answer to what is no such request: 400, 408, 412, 413, 414, 415, 417, 431, 500 or 503. why: where more is
    /// known of it than the status says; else empty. On any thread.
    std::function<Response(int status, const Peer& peer, const std::string& why)> reject;
  };
  /// listening: a SOCK_STREAM socket.
  HttpServer(Fd listening, Handlers handlers, const HttpLimits& limits = {});
  /// Waits for the requests that are being answered, and for no client.
  ~HttpServer();

 private:
  class Text;
  std::unique_ptr<Text> text_;
  HttpConnections connections_;
};

}  // namespace cloister::toolstack
