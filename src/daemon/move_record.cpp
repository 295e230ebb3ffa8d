#include "daemon/move_record.hpp"

#include "daemon/domain_key.hpp"
#include "protocol/moving.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

nlohmann::json to_json(const MoveDoubt& doubt) {
  nlohmann::json object{{"session", doubt.session}, {"peer", doubt.peer}};
  if (doubt.digests) object["digests"] = to_json(*doubt.digests);
  return object;
}

tl::expected<MoveDoubt, std::string> read_doubt(const nlohmann::json& object) {
  MoveDoubt doubt;
  JsonFields fields(object);
  fields.text("session", doubt.session).text("peer", doubt.peer);
  if (fields.ok() && !is_move_session(doubt.session)) fields.fail("'session': not a move's");
  if (!fields.ok()) return tl::unexpected(fields.error());
  if (fields.has("digests")) {
    auto digests = read_digests(object["digests"]);
    if (!digests) return tl::unexpected("'digests': " + digests.error());
    doubt.digests = *digests;
  }
  return doubt;
}

nlohmann::json to_json(const MoveRecord& move) {
  nlohmann::json object{{"session", move.session}, {"peer", move.peer}, {"arrives", move.arrives}};
  if (move.digests) object["digests"] = to_json(*move.digests);
  if (!move.keys.empty()) object["keys"] = move.keys;
  if (move.given_up) object["given_up"] = true;
  if (move.gone) object["gone"] = true;
  if (move.defined) object["defined"] = to_json(*move.defined);
  return object;
}

tl::expected<MoveRecord, std::string> read_move(const nlohmann::json& object) {
  MoveRecord move;
  JsonFields fields(object);
  fields.text("session", move.session).text("peer", move.peer).boolean("arrives", move.arrives);
  if (fields.ok() && !is_move_session(move.session)) fields.fail("'session': not a move's");
  if (fields.has("gone")) fields.boolean("gone", move.gone);
  if (fields.has("given_up")) fields.boolean("given_up", move.given_up);
  if (fields.has("keys")) {
    for (const nlohmann::json& one : fields.list("keys")) {
      move.keys.push_back(one.is_string() ? one.get<std::string>() : std::string());
      if (!read_key_name(move.keys.back())) fields.fail("'keys': expected names of keys");
    }
  }
  if (!fields.ok()) return tl::unexpected(fields.error());
  if (fields.has("digests")) {
    auto digests = read_digests(object["digests"]);
    if (!digests) return tl::unexpected("'digests': " + digests.error());
    move.digests = *digests;
  }
  if (fields.has("defined")) {
    auto defined = read_terms(object["defined"]);
    if (!defined) return tl::unexpected("'defined': " + defined.error());
    move.defined = *defined;
  }
  return move;
}

}  // namespace cloister::toolstack
