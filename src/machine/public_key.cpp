#include "machine/public_key.hpp"

#include "text/base64.hpp"

namespace cloister::toolstack {

namespace {
constexpr std::string_view key_word = "ed25519:";
}

std::string to_text(const PublicKey& key) { return std::string(key_word).append(in_base64(key.bytes)); }

std::optional<PublicKey> read_public_key(std::string_view text) {
  PublicKey key;
  if (!text.starts_with(key_word) || !from_base64(text.substr(key_word.size()), key.bytes)) return std::nullopt;
  return key;
}

}  // namespace cloister::toolstack
