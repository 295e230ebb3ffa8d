// A move between daemons (docs/migration.md), as a domain's record has it: of one that arrives, from before its guest
// could run here until it is this daemon's; of one that leaves, as long as it may run elsewhere.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

struct MoveRecord {
  std::string session{};  ///< the target's name for it
  std::string peer{};     ///< where it goes, for a person; empty: it arrives
  bool arrives = false;   ///< it runs here only if the verdict is that it does
  bool operator==(const MoveRecord&) const = default;
};

nlohmann::json to_json(const MoveRecord& move);
tl::expected<MoveRecord, std::string> read_move(const nlohmann::json& object);

}  // namespace cloister::toolstack
