// How the API's handlers answer.
#pragma once

#include "daemon/api_call.hpp"
#include "daemon/views.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

inline HttpServer::Response reply(const nlohmann::json& body, int status = 200) {
  return {.status = status, .type = "application/json", .body = json_text(body) + "\n"};
}
inline HttpServer::Response refuse(const ApiError& error) { return reply(view(error), error.status); }
inline HttpServer::Response reply(const Domains::Result& result, int status = 200) {
  return result ? reply(view(*result), status) : refuse(result.error());
}
inline HttpServer::Response bad_request(const std::string& why) { return refuse({.status = 400, .message = why}); }
/// The object in a request's body. None has more than a dozen members.
inline tl::expected<nlohmann::json, std::string> body_of(const HttpServer::Request& request) {
  return parse_object(request.body, {.deepest = 8, .most_values = 256});
}
inline HttpServer::Response bad_body(const std::string& why) { return bad_request("the request's body: " + why); }

}  // namespace cloister::toolstack
