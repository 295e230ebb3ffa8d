// Who a domain belongs to: the user, group and groups of who made it. The files that it names are opened with these
// rights and no others (daemon/opener.hpp).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/unix_socket.hpp"

namespace cloister::toolstack {

struct Owner {
  unsigned user = ~0u, group = ~0u;  ///< ~0: nobody, which is no user's number (setresuid(2))
  std::vector<unsigned> groups{};    ///< the supplementary ones
  bool operator==(const Owner&) const = default;
};

Owner owner_of(const Peer& peer);
/// This process's own user.
Owner own_user();

/// {"uid": …, "gid": …, "groups": […]}
nlohmann::json to_json(const Owner& owner);
/// The error says which member is wrong.
tl::expected<Owner, std::string> read_owner(const nlohmann::json& value);

}  // namespace cloister::toolstack
