// Signs SIGSTRUCTs for tests: RSA-3072 with exponent 3, by OpenSSL, with Q1 and Q2 by division.
#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "silicon/sgx/keys/platform_keys.hpp"
#include "silicon/sgx/leaves/sigstruct.hpp"

namespace cloister::silicon {

class SgxSigner {
 public:
  /// One key for the whole program: making one takes a while.
  static const SgxSigner& instance() {
    static const SgxSigner signer;
    return signer;
  }

  /// A SIGSTRUCT with its constants, for a measurement.
  static arch::Sigstruct unsigned_for(const arch::Bytes32& mrenclave) {
    arch::Sigstruct s{};
    s.header = arch::sigstruct_header;
    s.header2 = arch::sigstruct_header2;
    s.date = 0x2024'0101;
    s.exponent = 3;
    s.enclavehash = mrenclave;
    return s;
  }

  /// Signs what is there now.
  void sign(arch::Sigstruct& s) const {
    store(modulus_, s.modulus);
    arch::Modulus message;
    const auto& padding = signature_padding();
    const arch::Bytes32 digest = signed_digest(s);
    std::copy(digest.begin(), digest.end(), std::copy(padding.begin(), padding.end(), message.begin()));
    const Number m(BN_bin2bn(message.data(), message.size(), nullptr));
    const Number signature(BN_new()), product(BN_new()), q1(BN_new()), q2(BN_new()), rest(BN_new());
    BN_CTX* const c = scratch_.get();
    BN_mod_exp(signature.get(), m.get(), private_.get(), modulus_.get(), c);
    BN_sqr(product.get(), signature.get(), c);
    BN_div(q1.get(), rest.get(), product.get(), modulus_.get(), c);
    BN_mul(product.get(), rest.get(), signature.get(), c);
    BN_div(q2.get(), nullptr, product.get(), modulus_.get(), c);
    store(signature, s.signature);
    store(q1, s.q1);
    store(q2, s.q2);
  }

 private:
  struct Free {
    void operator()(BIGNUM* n) const { BN_free(n); }
    void operator()(BN_CTX* c) const { BN_CTX_free(c); }
    void operator()(EVP_PKEY* k) const { EVP_PKEY_free(k); }
    void operator()(EVP_PKEY_CTX* c) const { EVP_PKEY_CTX_free(c); }
  };
  using Number = std::unique_ptr<BIGNUM, Free>;

  SgxSigner() {
    const std::unique_ptr<EVP_PKEY_CTX, Free> c(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
    EVP_PKEY_keygen_init(c.get());
    std::size_t bits = 3072;
    const Number three(BN_new());
    BN_set_word(three.get(), 3);
    u8 exponent[] = {3};
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_size_t(OSSL_PKEY_PARAM_RSA_BITS, &bits),
                                     OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, exponent, sizeof exponent),
                                     OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX_set_params(c.get(), parameters);
    EVP_PKEY* made = nullptr;
    EVP_PKEY_generate(c.get(), &made);
    const std::unique_ptr<EVP_PKEY, Free> key(made);
    BIGNUM *n = nullptr, *d = nullptr;
    EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_N, &n);
    EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_D, &d);
    modulus_.reset(n);
    private_.reset(d);
    scratch_.reset(BN_CTX_new());
  }
  static void store(const Number& n, arch::Modulus& to) {
    BN_bn2lebinpad(n.get(), to.data(), static_cast<int>(to.size()));
  }

  Number modulus_, private_;
  std::unique_ptr<BN_CTX, Free> scratch_;
};

}  // namespace cloister::silicon
