#include "gcm.hpp"

#include <array>
#include <cstdlib>
#include <cstring>

#include "arch/sizes.hpp"

namespace cloister::bench {
namespace {

void must(int done) {
  if (done != 1) std::abort();
}

std::array<u8, 12> vector_of(u64 version) {
  std::array<u8, 12> vector{};
  std::memcpy(vector.data(), &version, sizeof version);
  return vector;
}

}  // namespace

Gcm::Gcm() : seal_(EVP_CIPHER_CTX_new()), open_(EVP_CIPHER_CTX_new()) {
  const u8 key[16] = {1};
  must(EVP_EncryptInit_ex(seal_.get(), EVP_aes_128_gcm(), nullptr, key, nullptr));
  must(EVP_DecryptInit_ex(open_.get(), EVP_aes_128_gcm(), nullptr, key, nullptr));
}

void Gcm::seal(u64 version, const u8* page, u8* sealed, u8* tag) {
  u8 rest[16];
  int bytes = 0;
  must(EVP_EncryptInit_ex(seal_.get(), nullptr, nullptr, nullptr, vector_of(version).data()));
  must(EVP_EncryptUpdate(seal_.get(), sealed, &bytes, page, arch::page_size));
  must(EVP_EncryptFinal_ex(seal_.get(), rest, &bytes));
  must(EVP_CIPHER_CTX_ctrl(seal_.get(), EVP_CTRL_AEAD_GET_TAG, tag_bytes, tag));
}

void Gcm::open(u64 version, u8* page, const u8* sealed, const u8* tag) {
  u8 rest[16];
  std::array<u8, tag_bytes> expected;
  std::memcpy(expected.data(), tag, expected.size());
  int bytes = 0;
  must(EVP_DecryptInit_ex(open_.get(), nullptr, nullptr, nullptr, vector_of(version).data()));
  must(EVP_DecryptUpdate(open_.get(), page, &bytes, sealed, arch::page_size));
  must(EVP_CIPHER_CTX_ctrl(open_.get(), EVP_CTRL_AEAD_SET_TAG, tag_bytes, expected.data()));
  must(EVP_DecryptFinal_ex(open_.get(), rest, &bytes));
}

}  // namespace cloister::bench
