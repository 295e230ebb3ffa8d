#include "daemon/move_record.hpp"

#include "protocol/moving.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

nlohmann::json to_json(const MoveRecord& move) {
  return {{"session", move.session}, {"peer", move.peer}, {"arrives", move.arrives}};
}

tl::expected<MoveRecord, std::string> read_move(const nlohmann::json& object) {
  MoveRecord move;
  JsonFields fields(object);
  fields.text("session", move.session).text("peer", move.peer).boolean("arrives", move.arrives);
  if (fields.ok() && !is_move_session(move.session)) fields.fail("'session': not a move's");
  if (!fields.ok()) return tl::unexpected(fields.error());
  return move;
}

}  // namespace cloister::toolstack
