// Unix sockets (unix(7)): addresses, bound sockets, and who is at the other end.
#pragma once

#include <sys/un.h>

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "toolstack/fd.hpp"

namespace cloister::toolstack {

/// nullopt: the path is too long for an address (107 bytes).
std::optional<sockaddr_un> unix_address(const std::string& path);

/// A listening socket, close-on-exec, with the mode given, in place of what was at `path`. type: SOCK_STREAM or
/// SOCK_SEQPACKET. The error is for a person.
tl::expected<Fd, std::string> listen_at(const std::string& path, int type, unsigned mode);

/// Of the process that connected, or that called listen(), as it was then (SO_PEERCRED, SO_PEERGROUPS). What cannot be
/// had is as in an empty one: nobody's numbers and no groups.
struct Peer {
  int pid = 0;
  unsigned uid = ~0u, gid = ~0u;
  std::vector<unsigned> groups{};  ///< the supplementary ones
};
Peer peer_of(int socket);

}  // namespace cloister::toolstack
