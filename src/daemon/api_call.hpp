// A request to the API, and the row that it goes to.
#pragma once

#include <string>
#include <string_view>

#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "daemon/metrics.hpp"
#include "http/server.hpp"
#include "verbs/guest_verbs.hpp"

namespace cloister::toolstack {

struct ApiCall {
  Domains& domains;
  const HostEpc& host;
  const HttpServer::Request& request;
  const RequestCounts& requests;
  /// A domain's uuid, where the route's right is about its owner; else what stands for the path's variable.
  std::string domain;
  const GuestVerbRow* verb = nullptr;  ///< the route's
};

struct Route {
  std::string_view method;
  std::string path;  ///< as in OpenAPI; its only variable is {domain}, {key} or {session}
  Right right;       ///< what it takes; no handler is called for who does not have it
  HttpServer::Response (*act)(const ApiCall& call);
  const GuestVerbRow* verb = nullptr;  ///< what it asks of a guest; null: nothing
};

}  // namespace cloister::toolstack
