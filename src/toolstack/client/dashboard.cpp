// `cloister dashboard`: cloisterd's page for a browser of this machine. Requests of the browser go on to the Unix
// socket; only GET, and only those that name this very server as their host, so that a page from elsewhere whose name
// suddenly means 127.0.0.1 (DNS rebinding) learns nothing.
#include <fmt/format.h>
#include <httplib.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <thread>

#include "toolstack/client/client.hpp"
#include "toolstack/toolstack.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr const char* loopback = "127.0.0.1";
constexpr time_t longest_answer_seconds = 10;

class Forwarder {
 public:
  explicit Forwarder(const std::string& run_folder) : socket_(run_folder + "/cloisterd.sock") {
    server_.set_keep_alive_timeout(1);
    server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
      return httplib::Server::HandlerResponse::Handled;
    });
  }
  /// 0: any port. False: it is not free.
  bool bind(int port) {
    port_ = port == 0 ? server_.bind_to_any_port(loopback) : server_.bind_to_port(loopback, port) ? port : -1;
    return port_ > 0;
  }
  int port() const { return port_; }
  void serve() { server_.listen_after_bind(); }
  /// Serves no longer, or fails to start to.
  void stop() {
    while (!server_.is_running()) std::this_thread::yield();
    server_.stop();
  }

 private:
  void answer(const httplib::Request& request, httplib::Response& response) const {
    response.set_header("X-Content-Type-Options", "nosniff");
    response.set_header("Cross-Origin-Resource-Policy", "same-origin");
    response.set_header("Cache-Control", "no-store");
    const auto host = request.get_header_value("Host");
    if (request.get_header_value_count("Host") != 1 ||
        (host != fmt::format("{}:{}", loopback, port_) && host != fmt::format("localhost:{}", port_)))
      return refuse(response, 403, "this server answers to its own name only");
    if (request.method != "GET") {
      response.set_header("Allow", "GET");
      return refuse(response, 405, "only GET goes through here");
    }
    if (!request.target.starts_with('/')) return refuse(response, 400, "not a path");
    forward(request.target, response);
  }
  static void refuse(httplib::Response& response, int status, const char* why) {
    response.status = status;
    response.set_content(fmt::format("{}\n", why), "text/plain");
  }
  void forward(const std::string& target, httplib::Response& response) const {
    httplib::Client http(socket_);
    http.set_address_family(AF_UNIX);
    http.set_read_timeout(longest_answer_seconds);
    http.set_url_encode(false);
    const httplib::Result result = http.Get(target, {{"Host", "localhost"}});
    if (!result) return refuse(response, 502, "cloisterd cannot be reached");
    response.status = result->status;
    if (const auto policy = result->get_header_value("Content-Security-Policy"); !policy.empty())
      response.set_header("Content-Security-Policy", policy);
    response.set_content(result->body, result->get_header_value("Content-Type"));
  }

  std::string socket_;
  httplib::Server server_;
  int port_ = -1;
};

}  // namespace

int dashboard(const Common& common, int port) {
  // Blocked before there is a thread, and waited for.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  Forwarder forwarder(common.run_folder);
  if (!forwarder.bind(port)) {
    fmt::print(stderr, "cloister: cannot listen on {}:{}\n", loopback, port);
    return exit_status::failed;
  }
  fmt::print("http://{}:{}/\n", loopback, forwarder.port());
  std::fflush(stdout);
  std::thread serving([&] { forwarder.serve(); });
  int number = 0;
  ::sigwait(&signals, &number);
  forwarder.stop();
  serving.join();
  return 0;
}

}  // namespace cloister::toolstack::client
