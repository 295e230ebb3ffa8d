// JSON; what is authenticated is the text of the members in clear, in the one order that JSON texts of ours have.
#include "daemon/domain_key.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <span>

#include "arch/try.hpp"
#include "config/domain_name.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;

constexpr std::string_view key_suffix = ".json", group_word = "group:", group_file_word = "group-";
constexpr std::size_t nonce_bytes = 12, tag_bytes_of_gcm = 16;

struct Wrapped {
  std::array<u8, nonce_bytes> nonce{};
  Secret key{};
  std::array<u8, tag_bytes_of_gcm> tag{};
};

json in_clear(const DomainKey& key) {
  return {
      {"version", domain_key_version}, {"key", to_text(key.name)}, {"owner", to_json(key.owner)}, {"made", key.made},
      {"last_use", key.last_use},      {"domain", key.domain},     {"power_ons", key.power_ons}};
}

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

/// OpenSSL refuses only for want of memory, and a key that is not wrapped must not be written.
void must(bool done) {
  if (!done) std::abort();
}

Cipher cipher(const WrapSecret& wrap, const Wrapped& wrapped, std::string_view clear, int seals) {
  Cipher context(EVP_CIPHER_CTX_new());
  int bytes = 0;
  must(context != nullptr &&
       EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, wrap.bytes.data(), wrapped.nonce.data(), seals) ==
           1 &&
       EVP_CipherUpdate(context.get(), nullptr, &bytes, reinterpret_cast<const u8*>(clear.data()),
                        static_cast<int>(clear.size())) == 1);
  return context;
}

Wrapped seal_secret(const Secret& key, const WrapSecret& wrap, std::string_view clear) {
  Wrapped wrapped;
  must(::getrandom(wrapped.nonce.data(), wrapped.nonce.size(), 0) == static_cast<ssize_t>(nonce_bytes));
  const Cipher context = cipher(wrap, wrapped, clear, 1);
  int bytes = 0;
  u8 rest[16];
  must(EVP_CipherUpdate(context.get(), wrapped.key.data(), &bytes, key.data(), static_cast<int>(key.size())) == 1 &&
       EVP_CipherFinal_ex(context.get(), rest, &bytes) == 1 &&
       EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, tag_bytes_of_gcm, wrapped.tag.data()) == 1);
  return wrapped;
}

std::optional<Secret> open_secret(Wrapped wrapped, const WrapSecret& wrap, std::string_view clear) {
  const Cipher context = cipher(wrap, wrapped, clear, 0);
  Secret key{};
  int bytes = 0;
  u8 rest[16];
  must(EVP_CipherUpdate(context.get(), key.data(), &bytes, wrapped.key.data(), static_cast<int>(key.size())) == 1 &&
       EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, tag_bytes_of_gcm, wrapped.tag.data()) == 1);
  if (EVP_CipherFinal_ex(context.get(), rest, &bytes) == 1) return key;
  OPENSSL_cleanse(key.data(), key.size());
  return std::nullopt;
}

}  // namespace

std::string to_text(const KeyName& name) {
  return name.kind == KeyName::Kind::group ? std::string(group_word).append(name.id) : name.id;
}

std::optional<KeyName> read_key_name(std::string_view text) {
  if (text.starts_with(group_word)) {
    text.remove_prefix(group_word.size());
    return valid_name(text) ? std::optional(KeyName::of_group(std::string(text))) : std::nullopt;
  }
  auto uuid = read_uuid(text);
  return uuid ? std::optional(KeyName::of_domain(std::move(*uuid))) : std::nullopt;
}

std::string key_file(const KeyName& name) {
  const bool group = name.kind == KeyName::Kind::group;
  return std::string(group ? group_file_word : "").append(name.id).append(key_suffix);
}

std::optional<KeyName> key_of_file(std::string_view file) {
  if (!file.ends_with(key_suffix)) return std::nullopt;
  std::string_view id = file.substr(0, file.size() - key_suffix.size());
  const bool group = id.starts_with(group_file_word);
  if (group) id.remove_prefix(group_file_word.size());
  auto name = read_key_name(group ? std::string(group_word).append(id) : std::string(id));
  return name && key_file(*name) == file ? std::move(name) : std::nullopt;
}

std::string wrap_key(const DomainKey& key, const WrapSecret& wrap) {
  json object = in_clear(key);
  const Wrapped wrapped = seal_secret(key.key, wrap, json_text(object));
  object["nonce"] = in_hex(wrapped.nonce);
  object["wrapped"] = in_hex(wrapped.key);
  object["tag"] = in_hex(wrapped.tag);
  return json_text(object);
}

tl::expected<DomainKey, std::string> unwrap_key(std::string_view text, const WrapSecret& wrap) {
  const auto object = TRY(parse_object(text));
  DomainKey key;
  u32 version = 0;
  std::string name, nonce, sealed, tag;
  JsonFields fields(object);
  fields.number("version", version);
  if (fields.ok() && (version < 1 || version > domain_key_version))
    fields.fail(fmt::format("'version': {}, of which this daemon knows 1 to {}", version, domain_key_version));
  fields.text("key", name).text("made", key.made).text("last_use", key.last_use).text("domain", key.domain);
  fields.number("power_ons", key.power_ons).text("nonce", nonce).text("wrapped", sealed).text("tag", tag);
  if (fields.ok() && !fields.has("owner")) fields.fail("'owner' is missing");
  if (!fields.ok()) return tl::unexpected(fields.error());
  auto read_name = read_key_name(name);
  if (!read_name) return tl::unexpected(std::string("'key': expected a uuid, or group:NAME"));
  key.name = std::move(*read_name);
  auto owner = read_owner(object["owner"]);
  if (!owner) return tl::unexpected("'owner': " + owner.error());
  key.owner = std::move(*owner);
  Wrapped wrapped;
  if (!from_hex(nonce, wrapped.nonce) || !from_hex(sealed, wrapped.key) || !from_hex(tag, wrapped.tag))
    return tl::unexpected(std::string("'nonce', 'wrapped', 'tag': expected 24, 64 and 32 hexadecimal digits"));
  const auto opened = open_secret(wrapped, wrap, json_text(in_clear(key)));
  if (!opened)
    return tl::unexpected(std::string("it is not what was written, or was written under another wrap-secret"));
  key.key = *opened;
  return key;
}

}  // namespace cloister::toolstack
