// httplib hands each connection to process_and_close_socket(), as its TLS server takes it, on a thread of its pool. A
// stream of ours is what it then reads and writes: it ends a request that is too long or too slow.
#include "toolstack/daemon/http_server.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>

namespace cloister::toolstack {

namespace {

using Clock = std::chrono::steady_clock;

/// A creation may wait for another one's EPC to be cleaned, but not a request for its own bytes.
constexpr std::chrono::seconds longest_transfer(10);
constexpr std::size_t threads = 8;
constexpr std::size_t longest_head = 64 << 10;
constexpr std::chrono::seconds longest_farewell(2);
constexpr std::size_t longest_drained = 8 << 20;

class SocketStream final : public httplib::Stream {
 public:
  explicit SocketStream(int socket) : socket_(socket), peer_(peer_of(socket)), end_(Clock::now() + longest_transfer) {}

  bool is_readable() const override { return begin_ != end_of_buffer_ || wait(POLLIN); }
  bool is_writable() const override { return wait(POLLOUT); }
  /// From a buffer: httplib asks for a request's head byte by byte.
  ssize_t read(char* to, std::size_t size) override {
    if (begin_ == end_of_buffer_ && !fill()) return -1;
    const std::size_t count = std::min(size, end_of_buffer_ - begin_);
    std::copy_n(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), count, to);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* from, std::size_t size) override {
    // The answer has time of its own, however long it took to find.
    if (!std::exchange(writing_, true)) end_ = Clock::now() + longest_transfer;
    if (!wait(POLLOUT)) return -1;
    return ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

  const Peer& peer() const { return peer_; }
  bool too_long() const { return too_long_; }
  /// The answer was given before the request was read.
  void refuse() { refused_ = true; }
  /// After a refusal: lets the other end finish, within limits. It would not see the answer otherwise: closing a Unix
  /// socket with something unread resets the connection.
  void drain() {
    if (!refused_) return;
    end_ = Clock::now() + longest_farewell;
    left_ = longest_drained;
    ::shutdown(socket_, SHUT_WR);
    while (fill()) {
    }
  }

 private:
  bool wait(short events) const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
    pollfd set{.fd = socket_, .events = events, .revents = 0};
    return left > 0 && ::poll(&set, 1, static_cast<int>(left)) > 0;
  }

  /// False: the end, an error, or too long or too slow a request.
  bool fill() {
    if (left_ == 0) too_long_ = true;
    if (left_ == 0 || !wait(POLLIN)) return false;
    const ssize_t got = ::recv(socket_, buffer_.data(), std::min(buffer_.size(), left_), 0);
    if (got <= 0) return false;
    begin_ = 0;
    end_of_buffer_ = static_cast<std::size_t>(got);
    left_ -= end_of_buffer_;
    return true;
  }

  int socket_;
  Peer peer_;
  Clock::time_point end_;
  std::array<char, 4096> buffer_;
  std::size_t begin_ = 0, end_of_buffer_ = 0;
  std::size_t left_ = HttpServer::longest_request + longest_head;
  bool too_long_ = false, writing_ = false, refused_ = false;
};

/// The connection that this thread of the pool answers.
thread_local SocketStream* current = nullptr;

void fill(httplib::Response& to, HttpServer::Response from) {
  to.status = from.status;
  to.set_content(std::move(from.body), from.type.c_str());
  if (!from.allow.empty()) to.set_header("Allow", from.allow);
  if (!from.content_security_policy.empty()) to.set_header("Content-Security-Policy", from.content_security_policy);
}

}  // namespace

HttpServer::HttpServer(Fd listening, Handlers handlers) : handlers_(std::move(handlers)) {
  const Handler answer_it = [this](const auto& request, auto& response) { answer(request, response); };
  for (const auto add :
       {&httplib::Server::Delete, static_cast<Server& (Server::*)(const std::string&, Handler)>(&httplib::Server::Get)})
    (this->*add)(".*", answer_it);
  Post(".*", answer_it);
  Patch(".*", answer_it);
  set_pre_routing_handler([this](const auto& request, auto& response) { return before(request, response); });
  set_error_handler(Handler([this](const auto&, auto& response) {
    if (response.body.empty()) reject(response);
  }));
  set_exception_handler([this](const auto&, auto& response, std::exception_ptr) {
    response.status = 500;
    reject(response);
  });
  set_payload_max_length(longest_request);
  new_task_queue = [] { return new httplib::ThreadPool(threads); };
  svr_sock_ = ::dup(listening.get());
  thread_ = std::thread([this] { listen_after_bind(); });
}

HttpServer::~HttpServer() {
  // stop() must find a server that has started to listen.
  while (!is_running()) std::this_thread::yield();
  stop();
  thread_.join();
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  const Fd owner(socket);
  SocketStream stream(socket);
  current = &stream;
  bool closed = false;
  const bool done = process_request(stream, true, closed, nullptr);
  current = nullptr;
  stream.drain();
  ::shutdown(socket, SHUT_RDWR);
  return done;
}

httplib::Server::HandlerResponse HttpServer::before(const httplib::Request& request,
                                                    httplib::Response& response) const {
  // Encoded bodies may be far longer than what came.
  const int status = request.path.size() > longest_path ? 414 : request.has_header("Content-Encoding") ? 415 : 0;
  if (status != 0) {
    current->refuse();
    fill(response, handlers_.reject(status, current->peer()));
    return HandlerResponse::Handled;
  }
  if (auto refused = handlers_.refuse(request.method, request.path, current->peer())) {
    current->refuse();
    fill(response, std::move(*refused));
    return HandlerResponse::Handled;
  }
  // Without either header there is no body (RFC 9112, 6.3); httplib would wait for the end of the connection.
  if (request.has_header("Content-Length") || request.has_header("Transfer-Encoding"))
    return HandlerResponse::Unhandled;
  answer(request, response);
  return HandlerResponse::Handled;
}

void HttpServer::answer(const httplib::Request& request, httplib::Response& response) const {
  fill(response, handlers_.handle({request.method, request.path, request.body, current->peer(), request.params}));
}

void HttpServer::reject(httplib::Response& response) const {
  if (current->too_long()) response.status = 413;
  current->refuse();
  fill(response, handlers_.reject(response.status, current->peer()));
}

}  // namespace cloister::toolstack
