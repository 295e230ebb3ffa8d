// A process that connects to Unix sockets for who has no right to, or may not say where: it is asked for a port, and
// answers with a descriptor of what listens at PATH_PORT, or with none. It has the rights of who started it, and ends
// as soon as nobody has the other end of its connection.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister {

/// A packet of that connection (SOCK_SEQPACKET), in both directions.
struct ConnectorMessage {
  u32 number = 0;  ///< the asker's own
  u32 port = 0;
};

/// Starts it: our end of its connection. The error is for a person.
tl::expected<Fd, std::string> start_connector(const std::string& path);

/// The next answer, without waiting; socket: invalid: nobody listens. Nullopt: there is none; false: there never will
/// be.
std::optional<bool> receive_from_connector(int connection, ConnectorMessage& message, Fd& socket);

}  // namespace cloister
