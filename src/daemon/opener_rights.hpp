// What an opener may do when it opens (daemon/opener.hpp): it gives up for good what it does not need.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "host/owner.hpp"

namespace cloister::toolstack {

using RightsTaken = tl::expected<void, std::string>;

/// Takes the owner's user and groups on. An owner who is root keeps of root's rights the one to read any file.
RightsTaken become(const Owner& owner);

/// Stays root, and of its rights keeps the one to administer the network.
RightsTaken keep_network_rights();

}  // namespace cloister::toolstack
