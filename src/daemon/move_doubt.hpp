// A domain that may run elsewhere by now, whose process died here before that was known: what is left of its move.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/move_secrets.hpp"

namespace cloister::toolstack {

struct MoveDoubt {
  std::string session{};                 ///< the target's name for it
  std::string peer{};                    ///< where it went, for a person
  std::optional<MoveDigests> digests{};  ///< its enclaves went with it; none: they are lost
  bool operator==(const MoveDoubt&) const = default;
};

nlohmann::json to_json(const MoveDoubt& doubt);
tl::expected<MoveDoubt, std::string> read_doubt(const nlohmann::json& object);

}  // namespace cloister::toolstack
