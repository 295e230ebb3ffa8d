// httplib's process_request() on a stream in memory, which holds one whole request and takes its answer. Routing of its
// own is not used: every method's every path is one function.
#include "http/server.hpp"

#include <httplib.h>

#include <algorithm>

#include "text/utf8.hpp"

namespace cloister::toolstack {

namespace {

class MemoryStream final : public httplib::Stream {
 public:
  explicit MemoryStream(std::string_view request) : rest_(request) {}

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, std::size_t size) override {
    const std::string_view piece = rest_.substr(0, size);
    std::ranges::copy(piece, to);
    rest_.remove_prefix(piece.size());
    return static_cast<ssize_t>(piece.size());
  }
  ssize_t write(const char* from, std::size_t size) override {
    answer_.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return -1; }

  std::string take_answer() { return std::move(answer_); }

 private:
  std::string_view rest_;
  std::string answer_;
};

void fill(httplib::Response& to, const HttpServer::Response& from) {
  to.status = from.status;
  // What says that it is UTF-8 is, whatever guests and files have in their names and texts.
  to.set_content(valid_utf8(from.body), from.type);
  for (const auto& [name, value] : from.fields) to.set_header(name, value);
}

constexpr int switching = 101, not_modified = 304;

std::vector<std::string> values_of(const httplib::Request& request, const char* name) {
  std::vector<std::string> values;
  const auto [first, last] = request.headers.equal_range(name);
  for (auto field = first; field != last; ++field) values.push_back(field->second);
  return values;
}

tl::expected<Preconditions, std::string> conditions_of(const httplib::Request& request) {
  Preconditions conditions;
  for (auto& [name, list] : {std::pair{"If-Match", &conditions.match}, {"If-None-Match", &conditions.none_match}}) {
    const auto values = values_of(request, name);
    if (values.empty()) continue;
    auto read = read_entity_tags(values);
    if (!read) return tl::unexpected("the request's " + std::string(name) + ": " + read.error());
    *list = std::move(*read);
  }
  return conditions;
}

bool reads(const httplib::Request& request) { return request.method == "GET" || request.method == "HEAD"; }

const std::string* tag_of(const HttpServer::Response& answer) {
  const auto field = std::ranges::find(answer.fields, "ETag", &std::pair<std::string, std::string>::first);
  return field == answer.fields.end() ? nullptr : &field->second;
}

/// What this thread answers.
struct Current {
  const Peer& peer;
  int refused = 0;  ///< the status, where it was decided before there was a request
  int connection = -1;
};
thread_local const Current* current = nullptr;

}  // namespace

/// Requests and answers as text.
class HttpServer::Text : private httplib::Server {
 public:
  explicit Text(HttpServer::Handlers handlers) : handlers_(std::move(handlers)) {
    set_pre_routing_handler([this](const auto& request, auto& response) { return before(request, response); });
    const Handler all = [this](const auto& request, auto& response) { answer(request, response); };
    Post(".*", all);
    Put(".*", all);
    Patch(".*", all);
    Delete(".*", all);
    set_error_handler(Handler([this](const auto&, auto& response) {
      if (response.body.empty()) fill(response, handlers_.reject(response.status, current->peer, {}));
    }));
    set_post_routing_handler([](const auto&, auto& response) {
      // httplib offers ranges to HEAD, and says of an answer without a body that it has none of some type.
      response.headers.erase("Accept-Ranges");
      if (response.status == switching) {
        response.headers.erase("Content-Length");
        response.headers.erase("Content-Type");
        response.headers.erase("Connection");
        response.set_header("Connection", "Upgrade");
      }
      if (response.status != not_modified) return;
      response.headers.erase("Content-Length");
      response.headers.erase("Content-Type");
    });
    set_exception_handler([this](const auto&, auto& response, std::exception_ptr) {
      fill(response, handlers_.reject(500, current->peer, {}));
    });
  }

  std::string answer_to(const std::string& request, const Peer& peer, int connection) {
    return process(request, {peer, 0, connection});
  }
  std::string refusal(int status, const Peer& peer) { return process("GET / HTTP/1.1\r\n\r\n", {peer, status}); }

 private:
  std::string process(const std::string& request, const Current& what) {
    MemoryStream stream(request);
    current = &what;
    bool closed = false;
    process_request(stream, true, closed, nullptr);
    current = nullptr;
    return stream.take_answer();
  }

  HandlerResponse before(const httplib::Request& request, httplib::Response& response) const {
    // Encoded bodies may be far longer than what came.
    const int status = current->refused != 0                    ? current->refused
                       : request.path.size() > longest_path     ? 414
                       : request.has_header("Content-Encoding") ? 415
                                                                : 0;
    if (status != 0) {
      fill(response, handlers_.reject(status, current->peer, {}));
      return HandlerResponse::Handled;
    }
    // httplib reads the body of those that have a route.
    const bool routed =
        request.method == "POST" || request.method == "PUT" || request.method == "PATCH" || request.method == "DELETE";
    if (routed && request.has_header("Content-Length")) return HandlerResponse::Unhandled;
    answer(request, response);
    return HandlerResponse::Handled;
  }

  void answer(const httplib::Request& request, httplib::Response& response) const {
    const auto conditions = conditions_of(request);
    if (!conditions) return fill(response, handlers_.reject(400, current->peer, conditions.error()));
    HttpServer::Response answer = handlers_.handle({.method = request.method,
                                                    .path = request.path,
                                                    .body = request.body,
                                                    .peer = current->peer,
                                                    .query = request.params,
                                                    .target = request.target,
                                                    .hosts = values_of(request, "Host"),
                                                    .cookies = values_of(request, "Cookie"),
                                                    .conditions = *conditions,
                                                    .upgrade = request.get_header_value("Upgrade"),
                                                    .connection = current->connection});
    const std::string* const tag = answer.status == 200 && reads(request) ? tag_of(answer) : nullptr;
    const int status = tag == nullptr ? answer.status : status_of_read(*conditions, *tag);
    if (tag != nullptr && status == 412) return fill(response, handlers_.reject(status, current->peer, {}));
    if (status == not_modified) answer.body.clear();
    answer.status = status;
    fill(response, answer);
  }

  HttpServer::Handlers handlers_;
};

HttpServer::HttpServer(Fd listening, Handlers handlers, const HttpLimits& limits)
    : text_(std::make_unique<Text>(std::move(handlers))),
      connections_(std::move(listening),
                   {.answer = [this](const std::string& request, const Peer& peer,
                                     int connection) { return text_->answer_to(request, peer, connection); },
                    .refuse = [this](int status, const Peer& peer) { return text_->refusal(status, peer); }},
                   limits) {}

HttpServer::~HttpServer() = default;

}  // namespace cloister::toolstack
