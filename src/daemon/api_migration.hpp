// What the API answers about domains that move between daemons (docs/migration.md).
#pragma once

#include "daemon/api_call.hpp"

namespace cloister::toolstack {

/// The protocol that a connection goes on with after an answer with status 101.
inline constexpr const char* move_protocol = "cloister-move";

HttpServer::Response post_offer(const ApiCall& call);
HttpServer::Response post_move_proof(const ApiCall& call);
HttpServer::Response post_migration(const ApiCall& call);
HttpServer::Response get_migration(const ApiCall& call);
HttpServer::Response delete_migration(const ApiCall& call);
HttpServer::Response post_hold(const ApiCall& call);
HttpServer::Response post_verdict(const ApiCall& call);

HttpServer::Response post_way(const ApiCall& call);
HttpServer::Response post_transfers(const ApiCall& call);
HttpServer::Response post_check(const ApiCall& call);
HttpServer::Response post_arrival(const ApiCall& call);
HttpServer::Response get_arrival(const ApiCall& call);
HttpServer::Response put_proof(const ApiCall& call);
HttpServer::Response put_verdict(const ApiCall& call);
HttpServer::Response delete_arrival(const ApiCall& call);
HttpServer::Response put_done(const ApiCall& call);

}  // namespace cloister::toolstack
