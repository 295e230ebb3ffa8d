// A move between daemons (docs/migration.md), as a domain's record has it: of one that arrives, from before its guest
// could run here until it is this daemon's; of one that leaves, as long as it may run elsewhere.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "daemon/definition.hpp"
#include "daemon/move_secrets.hpp"

namespace cloister::toolstack {

struct MoveRecord {
  std::string session{};                 ///< the target's name for it
  std::string peer{};                    ///< where it goes, for a person; empty: it arrives
  bool arrives = false;                  ///< it runs here only if the verdict is that it does
  std::optional<MoveDigests> digests{};  ///< its enclaves go with it; none: they are lost
  std::vector<std::string> keys{};       ///< of one that arrives: its own, if it has brought that and it was not here
  bool given_up = false;                 ///< of one that leaves: its enclaves, and the keys that they had
  /// Of one that leaves: it runs elsewhere. With its record its definition goes, and if its enclaves went its own key.
  bool gone = false;
  std::optional<StartTerms> defined{};  ///< its definition goes along, and it is started so; none: it has none
  bool operator==(const MoveRecord&) const = default;
};

nlohmann::json to_json(const MoveRecord& move);
tl::expected<MoveRecord, std::string> read_move(const nlohmann::json& object);

}  // namespace cloister::toolstack
