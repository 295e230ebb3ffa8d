// The disks that an opener opens (daemon/opener.hpp).
#pragma once

#include <nlohmann/json.hpp>

namespace cloister::toolstack {

/// Takes the owner's rights on, opens what the request says, and answers on this connection. The exit status.
int answer_disk(const nlohmann::json& request, int connection);

}  // namespace cloister::toolstack
