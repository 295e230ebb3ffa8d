// A root moves once in a domain's move: nothing here is kept for the next one.
#include "silicon/sgx/keys/root_crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cassert>
#include <cstdlib>
#include <memory>

namespace cloister::silicon {

namespace {

/// OpenSSL refuses only for want of memory; a made-up result would be worse than none.
void must(bool done) {
  if (!done) std::abort();
}

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

/// The cipher, with what is authenticated only.
Context start(bool seals, const arch::Bytes32& key, std::span<const u8> aad) {
  constexpr u8 iv[12] = {};
  Context context(EVP_CIPHER_CTX_new());
  must(context != nullptr);
  must(EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), iv, seals ? 1 : 0) == 1);
  int bytes = 0;
  must(EVP_CipherUpdate(context.get(), nullptr, &bytes, aad.data(), static_cast<int>(aad.size())) == 1);
  return context;
}

}  // namespace

arch::Bytes16 seal_root(const arch::Bytes32& key, std::span<const u8> aad, std::span<const u8> root, u8* sealed) {
  const Context context = start(true, key, aad);
  int bytes = 0;
  u8 rest[16];
  must(EVP_CipherUpdate(context.get(), sealed, &bytes, root.data(), static_cast<int>(root.size())) == 1);
  must(EVP_CipherFinal_ex(context.get(), rest, &bytes) == 1);
  arch::Bytes16 tag;
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()), tag.data()) == 1);
  return tag;
}

bool open_root(const arch::Bytes32& key, std::span<const u8> aad, std::span<const u8> sealed, const arch::Bytes16& tag,
               std::span<u8> root) {
  assert(sealed.size() == root.size());
  const Context context = start(false, key, aad);
  int bytes = 0;
  u8 rest[16];
  must(EVP_CipherUpdate(context.get(), root.data(), &bytes, sealed.data(), static_cast<int>(sealed.size())) == 1);
  arch::Bytes16 expected = tag;
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(expected.size()), expected.data()) ==
       1);
  if (EVP_CipherFinal_ex(context.get(), rest, &bytes) == 1) return true;
  erase(root);
  return false;
}

bool same_digest(const arch::Bytes32& a, const arch::Bytes32& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void erase(std::span<u8> secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

}  // namespace cloister::silicon
