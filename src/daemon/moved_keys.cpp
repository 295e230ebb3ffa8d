// A nonce, what is wrapped, and a tag. The session is authenticated with them.
#include "daemon/moved_keys.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "stream/codec.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t moved_nonce_bytes = 12, moved_tag_bytes = 16, most_moved_bytes = 256;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

/// OpenSSL refuses only for want of memory, and keys that are not wrapped must not be sent.
void must_do(bool done) {
  if (!done) std::abort();
}

Context context_for(const arch::Bytes32& key, std::span<const u8> nonce, std::string_view session, int seals) {
  Context context(EVP_CIPHER_CTX_new());
  int bytes = 0;
  must_do(context != nullptr &&
          EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce.data(), seals) == 1 &&
          EVP_CipherUpdate(context.get(), nullptr, &bytes, reinterpret_cast<const u8*>(session.data()),
                           static_cast<int>(session.size())) == 1);
  return context;
}

}  // namespace

MovedKeys::~MovedKeys() {
  OPENSSL_cleanse(own.data(), own.size());
  if (group) OPENSSL_cleanse(group->data(), group->size());
}

std::string wrap_moved(const MovedKeys& keys, const arch::Bytes32& with, std::string_view session) {
  stream::Encoder encoder;
  encoder.put(keys.boot);
  encoder.put(keys.power_ons);
  encoder.put(keys.own);
  encoder.put(keys.group);
  std::vector<u8> clear = encoder.take();
  std::vector<u8> wrapped(moved_nonce_bytes + clear.size() + moved_tag_bytes);
  const std::span<u8> all(wrapped), nonce = all.first(moved_nonce_bytes);
  must_do(::getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()));
  const Context context = context_for(with, nonce, session, 1);
  int bytes = 0;
  std::array<u8, 16> rest{};
  must_do(EVP_CipherUpdate(context.get(), all.subspan(moved_nonce_bytes).data(), &bytes, clear.data(),
                           static_cast<int>(clear.size())) == 1 &&
          EVP_CipherFinal_ex(context.get(), rest.data(), &bytes) == 1 &&
          EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, moved_tag_bytes,
                              all.last(moved_tag_bytes).data()) == 1);
  OPENSSL_cleanse(clear.data(), clear.size());
  return in_hex(wrapped);
}

tl::expected<MovedKeys, std::string> unwrap_moved(std::string_view text, const arch::Bytes32& with,
                                                  std::string_view session) {
  const auto refused = [](const char* why) { return tl::unexpected(std::string("the domain's keys: ") + why); };
  std::vector<u8> wrapped(text.size() / 2);
  if (wrapped.size() < moved_nonce_bytes + moved_tag_bytes || wrapped.size() > most_moved_bytes ||
      !from_hex(text, wrapped))
    return refused("they are not in the form that they are sent in");
  const std::span<u8> all(wrapped), tag = all.last(moved_tag_bytes);
  const std::span<u8> sealed = all.subspan(moved_nonce_bytes, all.size() - moved_nonce_bytes - moved_tag_bytes);
  const Context context = context_for(with, all.first(moved_nonce_bytes), session, 0);
  std::vector<u8> clear(sealed.size());
  int bytes = 0;
  std::array<u8, 16> rest{};
  must_do(EVP_CipherUpdate(context.get(), clear.data(), &bytes, sealed.data(), static_cast<int>(sealed.size())) == 1 &&
          EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, moved_tag_bytes, tag.data()) == 1);
  const bool authentic = EVP_CipherFinal_ex(context.get(), rest.data(), &bytes) == 1;
  MovedKeys keys;
  stream::Decoder from(clear);
  const bool read = authentic && from.get(keys.boot) && from.get(keys.power_ons) && from.get(keys.own) &&
                    from.get(keys.group) && from.left() == 0;
  OPENSSL_cleanse(clear.data(), clear.size());
  if (!authentic) return refused("they were altered, or wrapped for another move");
  if (!read) return refused("they are not in the form that they are sent in");
  return keys;
}

}  // namespace cloister::toolstack
