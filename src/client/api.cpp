// HTTP by cpp-httplib. Errors that cloisterd reports have a message, and for a configuration the place in it.
#include "client/api.hpp"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/exit_status.hpp"
#include "host/own_folder.hpp"
#include "host/unix_socket.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr int bad_request = 400;

Answer<Json> body_of(Answer<Reply> reply) {
  return std::move(reply).map([](Reply&& r) { return std::move(r.body); });
}

}  // namespace

Failure failure_of(const httplib::Response& response) {
  const int status = response.status == bad_request ? exit_status::bad_configuration : exit_status::failed;
  const Json answer = Json::parse(response.body, nullptr, false);
  const Json error = answer.is_object() ? answer.value("error", Json{}) : Json{};
  if (!error.is_object() || !error.contains("message") || !error["message"].is_string())
    return {fmt::format("cloister: cloisterd answered with status {} and no reason", response.status), status,
            response.status};
  // A configuration of somebody else, whose domain this user starts, may be quoted in it.
  const auto message = printable(error["message"].get<std::string>());
  if (!error.contains("file") || !error["file"].is_string()) return {"cloister: " + message, status, response.status};
  std::string where = printable(error["file"].get<std::string>());
  for (const char* part : {"line", "column"}) {
    // 0: the file as a whole.
    if (error.contains(part) && error[part].is_number_unsigned() && error[part] != 0)
      where += fmt::format(":{}", error[part].get<u64>());
  }
  return {where + ": " + message, status, response.status};
}

DaemonSocket::DaemonSocket(const std::string& run_folder) : shown_(run_folder + "/cloisterd.sock") {
  if (auto folder = open_trusted_folder(run_folder)) {
    folder_ = std::move(*folder);
    address_ = unix_address(folder_.get(), "cloisterd.sock").sun_path;
  } else {
    refused_ = folder.error();
    untrusted_ = ::access(run_folder.c_str(), F_OK) == 0;
    forbidden_ = untrusted_ || errno == EACCES;
  }
}

Api::Api(const std::string& run_folder, std::chrono::milliseconds for_an_answer)
    : socket_(run_folder), for_an_answer_(for_an_answer) {}

Answer<Api::Text> Api::request(const std::string& method, const std::string& path, const std::string& body,
                               const std::string& if_match) const {
  const auto unreachable = [&](const std::string& why, bool forbidden) {
    const char* const hint = socket_.untrusted()
                                 ? "another user's daemon answers that user: runuser -u USER -- cloister ...;"
                                 : "is it running?";
    return Failure{fmt::format("cloister: cannot reach cloisterd at {}: {} ({} --run names another folder)",
                               socket_.shown(), why, hint),
                   exit_status::failed, 0, forbidden};
  };
  if (socket_.address().empty()) return tl::unexpected(unreachable(socket_.refused(), socket_.forbidden()));
  httplib::Client http(socket_.address());
  http.set_address_family(AF_UNIX);
  http.set_read_timeout(for_an_answer_);
  httplib::Request request;
  request.method = method;
  request.path = path;
  request.body = body;
  request.set_header("Host", "localhost");
  if (!body.empty()) request.set_header("Content-Type", "application/json");
  if (!if_match.empty()) request.set_header("If-Match", if_match);
  const auto sent = std::chrono::steady_clock::now();
  const httplib::Result result = http.send(request);
  if (!result) {
    if (const int why = errno; result.error() == httplib::Error::Connection)
      return tl::unexpected(unreachable(std::strerror(why), why == EACCES));
    // httplib says of both that it could not read.
    const auto waited = std::chrono::steady_clock::now() - sent;
    const std::string why =
        waited < for_an_answer_
            ? "ended the connection before its answer"
            : fmt::format("did not answer within {:g} s", std::chrono::duration<double>(for_an_answer_).count());
    return tl::unexpected(
        Failure{fmt::format("cloister: cloisterd at {} {}", socket_.shown(), why), exit_status::failed});
  }
  if (result->status < 200 || result->status > 299) return tl::unexpected(failure_of(*result));
  return Text{result->body, result->get_header_value("ETag"), result->status};
}

Answer<Reply> Api::request_json(const std::string& method, const std::string& path, const Json& body,
                                const std::string& if_match) const {
  const auto answer = TRY(request(method, path, body.is_null() ? std::string() : json_text(body), if_match));
  Json json = Json::parse(answer.text, nullptr, false);
  if (json.is_discarded())
    return tl::unexpected(Failure{fmt::format("cloister: cloisterd's answer to {} {} is not JSON", method, path),
                                  exit_status::failed, answer.status});
  return Reply{std::move(json), answer.status, answer.tag};
}

Answer<Json> Api::get(const std::string& path) const { return body_of(request_json("GET", path, nullptr)); }
Answer<std::string> Api::get_text(const std::string& path) const {
  return request("GET", path, "").map([](Text&& answer) { return std::move(answer.text); });
}
Answer<Json> Api::post(const std::string& path, const Json& body) const {
  return body_of(request_json("POST", path, body));
}
Answer<Json> Api::patch(const std::string& path, const Json& body) const {
  return body_of(request_json("PATCH", path, body));
}
Answer<Json> Api::remove(const std::string& path) const { return body_of(request_json("DELETE", path, nullptr)); }
Answer<Reply> Api::get_tagged(const std::string& path) const { return request_json("GET", path, nullptr); }
Answer<Reply> Api::put(const std::string& path, const Json& body, const std::string& if_match) const {
  return request_json("PUT", path, body, if_match);
}

namespace {

std::string path_of(std::string path, const std::string& variable) {
  for (const char c : variable) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    path += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<u8>(c));
  }
  return path;
}

}  // namespace

std::string domain_path(const std::string& domain, const std::string& below) {
  return path_of("/v1/domains/", domain) + below;
}

std::string key_path(const std::string& key) { return path_of("/v1/keys/", key); }

std::string ticket_path(const std::string& ticket) { return path_of("/v1/tickets/", ticket); }

}  // namespace cloister::toolstack::client
