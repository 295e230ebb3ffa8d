#include "daemon/machine_key.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <cstdlib>
#include <memory>

#include "arch/try.hpp"
#include "host/durable.hpp"
#include "host/own_folder.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

struct FreeKeyParts {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using KeyPair = std::unique_ptr<EVP_PKEY, FreeKeyParts>;
using Digesting = std::unique_ptr<EVP_MD_CTX, FreeKeyParts>;

/// OpenSSL refuses only for want of memory.
void must_sign(bool done) {
  if (!done) std::abort();
}

KeyPair pair_of(const Secret& seed) {
  KeyPair pair(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  must_sign(pair != nullptr);
  return pair;
}

/// What was noted of the key when it was made; nullopt: nothing.
tl::expected<std::optional<PublicKey>, std::string> noted_key(int state, const std::string& path) {
  const std::string file = path + "/" + public_key_file;
  const auto text = read_own_text(state, public_key_file);
  if (!text) return tl::unexpected(file + ": " + text.error());
  if (!*text) return std::nullopt;
  std::string_view line = **text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  const auto key = read_public_key(line);
  if (!key) return tl::unexpected(fmt::format("{}: found {}, expected ed25519:BASE64", file, shown(line)));
  return *key;
}

/// The key that is there must be the one that was noted.
tl::expected<void, std::string> is_noted(const MachineKey& key, const std::optional<PublicKey>& noted,
                                         const std::string& path) {
  if (!noted || *noted == key.public_key()) return {};
  return tl::unexpected(
      fmt::format("{}/{}: found the key {}, expected that of {}, {}: put it back, or remove both and "
                  "start once with --new-machine-key",
                  path, machine_key_file.name, to_text(key.public_key()), public_key_file, to_text(*noted)));
}

}  // namespace

PublicKey MachineKey::public_key() const {
  const KeyPair pair = pair_of(seed);
  PublicKey key;
  std::size_t size = key.bytes.size();
  must_sign(EVP_PKEY_get_raw_public_key(pair.get(), key.bytes.data(), &size) == 1 && size == key.bytes.size());
  return key;
}

Signature MachineKey::sign(std::span<const u8> text) const {
  const KeyPair pair = pair_of(seed);
  const Digesting context(EVP_MD_CTX_new());
  Signature signature{};
  std::size_t size = signature.size();
  must_sign(context != nullptr && EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, pair.get()) == 1 &&
            EVP_DigestSign(context.get(), signature.data(), &size, text.data(), text.size()) == 1);
  return signature;
}

bool is_signed_by(const PublicKey& key, std::span<const u8> text, const Signature& signature) {
  const KeyPair half(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.bytes.data(), key.bytes.size()));
  const Digesting context(EVP_MD_CTX_new());
  return half != nullptr && context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, half.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), text.data(), text.size()) == 1;
}

tl::expected<MachineKey, std::string> open_machine_key(int state, const std::string& path, bool make_anew) {
  const bool there = has_secret(state, machine_key_file);
  if (make_anew && !there) {
    // First: who is ended between the two has no note of a key that is not there.
    if (auto removed = remove_durably(state, public_key_file); !removed)
      return tl::unexpected(path + ": " + removed.error());
  }
  const auto noted = TRY(noted_key(state, path));
  const MissingSecret missing = make_anew ? MissingSecret::must_be
                                : noted   ? MissingSecret::refuse
                                          : MissingSecret::make;
  const MachineKey key{TRY(secret_in(state, path, machine_key_file, missing))};
  TRY(is_noted(key, noted, path));
  if (!noted) {
    // After the key: a note of one that is not there would be in the way of every start.
    if (auto written = write_durably(state, public_key_file, to_text(key.public_key()) + "\n"); !written)
      return tl::unexpected(path + ": " + written.error());
  }
  return key;
}

std::string look_at_machine_key(int state, const std::string& path, bool make_anew, bool& made) {
  const bool there = has_secret(state, machine_key_file);
  made = !there;
  if (made && make_anew) return {};
  const auto noted = noted_key(state, path);
  if (!noted) return noted.error();
  if (made && !*noted) return {};
  const auto key = secret_in(state, path, machine_key_file, make_anew ? MissingSecret::must_be : MissingSecret::refuse);
  if (!key) return key.error();
  const auto same = is_noted({*key}, *noted, path);
  return same ? std::string() : same.error();
}

}  // namespace cloister::toolstack
