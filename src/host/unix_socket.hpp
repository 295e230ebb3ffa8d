// Unix sockets (unix(7)): addresses, bound sockets, and who is at the other end.
#pragma once

#include <sys/un.h>

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

/// A socket by the open folder that it is in and its name there, which has no slash and is short: whatever the length
/// of the folder's path, and whatever that path means by now. Needs /proc.
sockaddr_un unix_address(int folder, std::string_view name);

/// A listening socket, close-on-exec, with the mode given, in place of an old one of this user's. type: SOCK_STREAM or
/// SOCK_SEQPACKET. The error is for a person; `parent`: the folder's path, for it.
tl::expected<Fd, std::string> listen_at(int folder, const std::string& name, int type, unsigned mode,
                                        const std::string& parent);

/// Connected to the socket at a path of any length; invalid, with errno.
Fd connect_to(const std::string& path, int type);

/// Of the process that connected, or that called listen(), as it was then (SO_PEERCRED, SO_PEERGROUPS). What cannot be
/// had is as in an empty one: nobody's numbers and no groups.
struct Peer {
  int pid = 0;
  unsigned uid = ~0u, gid = ~0u;
  std::vector<unsigned> groups{};  ///< the supplementary ones
};
Peer peer_of(int socket);

}  // namespace cloister::toolstack
