// Numbers only: a name may be another user's tomorrow.
#include "host/owner.hpp"

#include <unistd.h>

#include "text/json_fields.hpp"

namespace cloister::toolstack {

Owner owner_of(const Peer& peer) { return {peer.uid, peer.gid, peer.groups}; }

Owner own_user() { return {::geteuid(), ::getegid(), {}}; }

nlohmann::json to_json(const Owner& owner) {
  return {{"uid", owner.user}, {"gid", owner.group}, {"groups", owner.groups}};
}

tl::expected<Owner, std::string> read_owner(const nlohmann::json& value) {
  Owner owner;
  JsonFields fields(value);
  fields.number("uid", owner.user).number("gid", owner.group);
  for (const nlohmann::json& group : fields.list("groups")) {
    if (!group.is_number_unsigned() || group.get<u64>() >= ~0u) fields.fail("'groups': expected group numbers");
    if (fields.ok()) owner.groups.push_back(group.get<unsigned>());
  }
  if (fields.ok() && (owner.user == ~0u || owner.group == ~0u)) fields.fail("found the number of no user");
  if (!fields.ok()) return tl::unexpected(fields.error());
  return owner;
}

}  // namespace cloister::toolstack
