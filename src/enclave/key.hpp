// The author's key: RSA of 3072 bits with exponent 3, the only one that EINIT takes (SDM vol. 3D, 38.1.3).
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string_view>

#include "enclave/stream.hpp"

namespace cloister::enclave {

class SigningKey {
 public:
  static Result<SigningKey> generate();
  static Result<SigningKey> from_pem(std::string_view text);

  Result<std::string> to_pem() const;

  /// Modulus, little-endian.
  arch::Modulus modulus() const;
  /// RSASSA-PKCS1-v1_5 with SHA-256 over the message, as a little-endian number.
  Result<arch::Modulus> sign(std::span<const u8> message) const;

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  using Handle = std::unique_ptr<EVP_PKEY, Free>;
  explicit SigningKey(Handle key) : key_(std::move(key)) {}

  Handle key_;
};

}  // namespace cloister::enclave
