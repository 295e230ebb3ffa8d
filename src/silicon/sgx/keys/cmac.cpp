#include "silicon/sgx/keys/cmac.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <memory>

namespace cloister::silicon {

namespace {
struct Free {
  void operator()(EVP_MAC* m) const { EVP_MAC_free(m); }
  void operator()(EVP_MAC_CTX* c) const { EVP_MAC_CTX_free(c); }
};
}  // namespace

arch::Bytes16 aes_cmac(const arch::Bytes16& key, std::span<const u8> message) {
  static const std::unique_ptr<EVP_MAC, Free> algorithm(EVP_MAC_fetch(nullptr, "CMAC", nullptr));
  static char cipher[] = "AES-128-CBC";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
                                   OSSL_PARAM_construct_end()};
  const std::unique_ptr<EVP_MAC_CTX, Free> context(EVP_MAC_CTX_new(algorithm.get()));
  arch::Bytes16 mac{};
  std::size_t bytes = 0;
  const bool done = context != nullptr && EVP_MAC_init(context.get(), key.data(), key.size(), parameters) == 1 &&
                    EVP_MAC_update(context.get(), message.data(), message.size()) == 1 &&
                    EVP_MAC_final(context.get(), mac.data(), &bytes, mac.size()) == 1;
  // Only the host's memory can be at fault; a made-up key would be worse than none.
  if (!done || bytes != mac.size()) std::abort();
  return mac;
}

bool same_mac(const arch::Bytes16& a, const arch::Bytes16& b) { return CRYPTO_memcmp(a.data(), b.data(), 16) == 0; }

}  // namespace cloister::silicon
