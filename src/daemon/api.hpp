// The REST interface: a table of routes. docs/openapi.json describes it.
#pragma once

#include <span>

#include "daemon/api_call.hpp"

namespace cloister::toolstack {

std::span<const Route> routes();

/// The handlers of a server of this API. The domains must outlive it. `host`: what the host has itself.
HttpServer::Handlers api_handlers(Domains& domains, HostEpc host);

}  // namespace cloister::toolstack
