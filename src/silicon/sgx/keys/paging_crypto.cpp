// AES-128-GCM of evicted pages (paging_crypto.hpp), by OpenSSL. Setting up a context and expanding the key cost more
// than a page, so each thread keeps both and changes only the initialisation vector.
#include "silicon/sgx/keys/paging_crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace cloister::silicon {

namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};

/// OpenSSL refuses only for want of memory; a processor without its cipher cannot go on.
void must(bool done) {
  if (!done) std::abort();
}

class Gcm {
 public:
  explicit Gcm(bool seals) : context_(EVP_CIPHER_CTX_new()), seals_(seals) { must(context_ != nullptr); }
  ~Gcm() { OPENSSL_cleanse(key_.data(), key_.size()); }
  Gcm(const Gcm&) = delete;
  Gcm& operator=(const Gcm&) = delete;

  void start(const arch::Bytes16& key, const GcmIv& iv, std::span<const u8> aad) {
    const bool known = keyed_ && CRYPTO_memcmp(key_.data(), key.data(), key.size()) == 0;
    must(EVP_CipherInit_ex(get(), keyed_ ? nullptr : EVP_aes_128_gcm(), nullptr, known ? nullptr : key.data(),
                           iv.data(), seals_ ? 1 : 0) == 1);
    key_ = key;
    keyed_ = true;
    if (!aad.empty()) update(nullptr, aad);
  }
  void update(u8* out, std::span<const u8> in) {
    int bytes = 0;
    must(EVP_CipherUpdate(get(), out, &bytes, in.data(), static_cast<int>(in.size())) == 1);
  }
  EVP_CIPHER_CTX* get() { return context_.get(); }

 private:
  std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;
  bool seals_;
  bool keyed_ = false;
  arch::Bytes16 key_{};
};

GcmIv iv_of(u64 version) {
  // The manual's counter is the version shifted left by 32: the cipher counts blocks in the low 32 bits.
  GcmIv iv{};
  for (unsigned i = 0; i < 8; ++i) iv[4 + i] = static_cast<u8>(version >> (56 - 8 * i));
  return iv;
}

std::span<const u8> bytes_of(const PagingHeader& header) {
  return {reinterpret_cast<const u8*>(&header), sizeof header};
}

}  // namespace

arch::Bytes16 gcm_seal(const arch::Bytes16& key, const GcmIv& iv, std::span<const u8> aad, std::span<const u8> plain,
                       u8* sealed) {
  thread_local Gcm gcm(true);
  gcm.start(key, iv, aad);
  if (!plain.empty()) gcm.update(sealed, plain);
  int bytes = 0;
  u8 rest[16];
  must(EVP_CipherFinal_ex(gcm.get(), rest, &bytes) == 1);
  arch::Bytes16 tag;
  must(EVP_CIPHER_CTX_ctrl(gcm.get(), EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.size()), tag.data()) == 1);
  return tag;
}

bool gcm_open(const arch::Bytes16& key, const GcmIv& iv, std::span<const u8> aad, std::span<const u8> sealed,
              const arch::Bytes16& tag, u8* plain) {
  thread_local Gcm gcm(false);
  gcm.start(key, iv, aad);
  if (!sealed.empty()) gcm.update(plain, sealed);
  arch::Bytes16 expected = tag;
  must(EVP_CIPHER_CTX_ctrl(gcm.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(expected.size()), expected.data()) == 1);
  int bytes = 0;
  u8 rest[16];
  return EVP_CipherFinal_ex(gcm.get(), rest, &bytes) == 1;
}

arch::Bytes16 seal_page(const arch::Bytes16& key, u64 version, const PagingHeader& header, ConstPageBytes page,
                        PageBytes out) {
  return gcm_seal(key, iv_of(version), bytes_of(header), page, out.data());
}

bool open_page(const arch::Bytes16& key, u64 version, const PagingHeader& header, ConstPageBytes sealed,
               const arch::Bytes16& mac, PageBytes page) {
  if (gcm_open(key, iv_of(version), bytes_of(header), sealed, mac, page.data())) return true;
  OPENSSL_cleanse(page.data(), page.size());
  return false;
}

}  // namespace cloister::silicon
