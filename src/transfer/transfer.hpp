// The program cloister-transfer: carries domains between machines over TLS (docs/migration.md, "By TLS"), so that
// neither the daemon nor a user's client reads what comes from the network, or has the machine's key.
#pragma once

#include <string>

namespace cloister::toolstack {

/// At a source: descriptor 0 is a connection to the daemon (SOCK_SEQPACKET), with one order. The exit status. stays: in
/// this process, as a service does; else in a child, of which who started it need not know.
int run_transfer_reach(bool stays);

/// At a target: one source, on the TCP connection that is descriptor 0. `run`: the daemon's run folder.
int run_transfer_serve(const std::string& run);

/// At a target: listens at HOST:PORT, and serves those that come. Ends with the process that started it, and with
/// SIGTERM.
int run_transfer_listen(const std::string& run, const std::string& address);

}  // namespace cloister::toolstack
