// The handlers of requests about keys.
#pragma once

#include "daemon/api_call.hpp"

namespace cloister::toolstack {

HttpServer::Response get_keys(const ApiCall& call);
HttpServer::Response get_tickets(const ApiCall& call);
HttpServer::Response delete_ticket(const ApiCall& call);
HttpServer::Response delete_key(const ApiCall& call);
HttpServer::Response post_keys(const ApiCall& call);

}  // namespace cloister::toolstack
