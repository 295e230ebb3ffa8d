// How the API's handlers answer.
#pragma once

#include "daemon/api_call.hpp"
#include "daemon/views.hpp"
#include "text/json_text.hpp"

namespace cloister::toolstack {

inline HttpServer::Response reply(const nlohmann::json& body, int status = 200) {
  return {.status = status, .type = "application/json", .body = json_text(body) + "\n"};
}
inline HttpServer::Response refuse(const ApiError& error) { return reply(view(error), error.status); }
inline HttpServer::Response reply(const Domains::Result& result, int status = 200) {
  return result ? reply(view(*result), status) : refuse(result.error());
}
inline HttpServer::Response bad_request(const std::string& why) { return refuse({.status = 400, .message = why}); }
inline HttpServer::Response bad_body(const std::string& why) { return bad_request("the request's body: " + why); }

}  // namespace cloister::toolstack
