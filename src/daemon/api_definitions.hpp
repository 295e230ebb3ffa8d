// The API's handlers for domains that are defined, and for the host's going down and coming up (docs/openapi.json).
#pragma once

#include "daemon/api_call.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

HttpServer::Response put_definition(const ApiCall& call);
HttpServer::Response get_definition(const ApiCall& call);
HttpServer::Response delete_definition(const ApiCall& call);
HttpServer::Response start_domain(const ApiCall& call);
HttpServer::Response patch_domain(const ApiCall& call);
HttpServer::Response post_host_down(const ApiCall& call);
HttpServer::Response post_host_up(const ApiCall& call);
HttpServer::Response save_for_host(const ApiCall& call);

/// The configuration of a request's body, and who sends it; the other members are the caller's.
CreateRequest configuration_of(const ApiCall& call, JsonFields& fields);

/// Defines what a creation's request says, then starts it.
HttpServer::Response define_and_start(const ApiCall& call, const CreateRequest& request);

}  // namespace cloister::toolstack
