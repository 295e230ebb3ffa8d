// A domain's virtual platform as it is kept: the key that its processor's keys come from, wrapped (AES-256-GCM, NIST SP
// 800-38D), with what anybody may know of it in clear and authenticated with it. A group of domains has such a key,
// too.
//
// What follows from the key is not kept: owner epoch and fuses (silicon/sgx/keys/platform_keys.hpp), and CPUSVN, which
// is the processor's. Enclave ids and paging versions start from 1 at each power-on, as on hardware, under a paging key
// that no other power-on has: for that the power-ons are counted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "host/owner.hpp"
#include "machine/platform_secret.hpp"

namespace cloister::toolstack {

/// Whose a key is: one domain's, by its uuid, or a group's, by the name that configurations have for it.
struct KeyName {
  enum class Kind : u8 { domain, group };
  Kind kind = Kind::domain;
  std::string id;  ///< a uuid in its canonical form, or a group's name
  bool operator==(const KeyName&) const = default;
  auto operator<=>(const KeyName&) const = default;

  static KeyName of_domain(std::string uuid) { return {Kind::domain, std::move(uuid)}; }
  static KeyName of_group(std::string name) { return {Kind::group, std::move(name)}; }
};
/// "UUID" or "group:NAME".
std::string to_text(const KeyName& name);
/// nullopt: it is neither.
std::optional<KeyName> read_key_name(std::string_view text);
/// The file's name: UUID.json or group-NAME.json, of which the one cannot be the other.
std::string key_file(const KeyName& name);
/// nullopt: no key's file is called so.
std::optional<KeyName> key_of_file(std::string_view file);

/// Of 1, the first.
inline constexpr u32 domain_key_version = 1;

struct DomainKey {
  KeyName name{};
  Owner owner{};           ///< who made it: no other user's domain gets it
  std::string made{};      ///< RFC 3339, UTC, as the next one
  std::string last_use{};  ///< when a domain was last started with it
  std::string domain{};    ///< that domain's name
  u32 power_ons = 0;       ///< of domains with it, also of those that did not come to run
  Secret key{};
  bool operator==(const DomainKey&) const = default;
};

/// The text of its file; another one each time, since the nonce is random: 2^32 texts are safe under one wrap secret.
std::string wrap_key(const DomainKey& key, const WrapSecret& wrap);
/// The error says what is wrong: a member, the version, or that text and wrap secret do not belong together.
tl::expected<DomainKey, std::string> unwrap_key(std::string_view text, const WrapSecret& wrap);

}  // namespace cloister::toolstack
