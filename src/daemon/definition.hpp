// A domain that persists: what is kept of it while it does not run. Its text says what it is, byte for byte as its
// owner wrote it; the rest says when it is started without being asked for.
//
// Definitions have a version, as domains' records do (registry.hpp).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "config/domain_config.hpp"
#include "daemon/move_doubt.hpp"
#include "host/owner.hpp"

namespace cloister::toolstack {

/// When a domain is started after the host has come up.
enum class Autostart : u8 {
  off,   ///< never
  on,    ///< always
  last,  ///< if it ran when the host went down
};
std::string_view name_of(Autostart autostart);
/// The error says what there is.
tl::expected<Autostart, std::string> read_autostart(std::string_view word);

/// 1, of before there were keys of domains' own: `machine_keys`, whatever its text says.
inline constexpr u32 definition_version = 2;

/// When a domain that is defined starts and ends beside others.
struct StartTerms {
  Autostart autostart = Autostart::off;
  u32 order = 0;          ///< of those to be started, the lowest first; the host's going down ends the highest first
  u32 delay_seconds = 0;  ///< from its start to that of its user's next one; longest_start_delay at most
  bool operator==(const StartTerms&) const = default;
};
nlohmann::json to_json(const StartTerms& terms);
tl::expected<StartTerms, std::string> read_terms(const nlohmann::json& object);

struct Definition : StartTerms {
  std::string uuid;  ///< in its canonical form; it never changes
  std::string name;  ///< what the text calls it
  Owner owner;       ///< with whose rights its files are opened; the groups are those of when its owner last defined it
  std::string text, file,
      directory;  ///< as they came: the configuration, its file's name, the folder for relative paths
  /// Its platform is "machine" where its text does not say what it is: what its enclaves have sealed is sealed so.
  bool machine_keys = false;
  std::optional<MoveDoubt> in_doubt{};  ///< its domain may run elsewhere; none: nowhere
  bool operator==(const Definition&) const = default;
};

/// Whose keys a domain has that has EPC. Null: it is not defined.
SgxPlatform platform_of(const DomainConfig& config, const Definition* definition);

/// Its entity-tag (RFC 9110, 8.8.3), which is another if anything of it is.
std::string tag_of(const Definition& definition);

std::string write_definition(const Definition& definition);
tl::expected<Definition, std::string> read_definition(std::string_view text);

}  // namespace cloister::toolstack
