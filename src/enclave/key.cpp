#include "enclave/key.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>

namespace cloister::enclave {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(BIGNUM* number) const { BN_clear_free(number); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

tl::unexpected<std::string> error(const char* text) { return tl::unexpected(std::string(text)); }

Owned<BIGNUM> parameter(const EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key, name, &number);
  return Owned<BIGNUM>(number);
}

}  // namespace

Result<SigningKey> SigningKey::generate() {
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  const Owned<BIGNUM> exponent(BN_new());
  EVP_PKEY* key = nullptr;
  if (!context || !exponent || BN_set_word(exponent.get(), 3) != 1 || EVP_PKEY_keygen_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_rsa_keygen_bits(context.get(), 3072) != 1 ||
      EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context.get(), exponent.get()) != 1 ||
      EVP_PKEY_generate(context.get(), &key) != 1) {
    return error("cannot generate an RSA key");
  }
  return SigningKey(Handle(key));
}

Result<SigningKey> SigningKey::from_pem(std::string_view text) {
  const Owned<BIO> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  // No password is asked for: an encrypted key is an unreadable one.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  Handle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) return error("it is not a private key in PEM without password");
  if (EVP_PKEY_is_a(key.get(), "RSA") != 1 || EVP_PKEY_get_bits(key.get()) != 3072) {
    return error("it is not an RSA key of 3072 bits");
  }
  const auto exponent = parameter(key.get(), OSSL_PKEY_PARAM_RSA_E);
  if (!exponent || BN_is_word(exponent.get(), 3) != 1) return error("its public exponent is not 3");
  return SigningKey(std::move(key));
}

Result<std::string> SigningKey::to_pem() const {
  const Owned<BIO> bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return error("cannot write the key as PEM");
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

arch::Modulus SigningKey::modulus() const {
  arch::Modulus bytes{};
  BN_bn2lebinpad(parameter(key_.get(), OSSL_PKEY_PARAM_RSA_N).get(), bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

Result<arch::Modulus> SigningKey::sign(std::span<const u8> message) const {
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  arch::Modulus signature{};
  std::size_t size = signature.size();
  // PKCS #1 v1.5 is OpenSSL's padding for RSA unless another is asked for.
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) != 1 ||
      size != signature.size()) {
    return error("cannot sign");
  }
  std::ranges::reverse(signature);
  return signature;
}

}  // namespace cloister::enclave
