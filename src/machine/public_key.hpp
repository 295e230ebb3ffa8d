// The key by which a machine is known to others (docs/migration.md): the public half of an Ed25519 key pair (RFC 8032),
// as people copy it from one machine's `cloister host --key` to another one's machine.toml.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack {

struct PublicKey {
  std::array<u8, 32> bytes{};
  bool operator==(const PublicKey&) const = default;
};

inline constexpr const char* public_key_form =
    "a machine's key, as `cloister host --key` prints it there: ed25519:BASE64";
std::string to_text(const PublicKey& key);
/// nullopt: it is none.
std::optional<PublicKey> read_public_key(std::string_view text);

}  // namespace cloister::toolstack
