// passt(1): carries the frames of one network interface to the network, by sockets of its own and without privileges.
// It ends as soon as nobody has the other end of its connection.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

/// Starts it with these arguments, with the rights of this process: where that is root's, as the user `nobody`. Returns
/// once it carries frames: our end of its connection, a stream socket. The error is for a person.
tl::expected<Fd, std::string> start_passt(const std::vector<std::string>& arguments);

}  // namespace cloister::toolstack
