#include "silicon/sgx/leaves/sigstruct.hpp"

#include <openssl/bn.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "silicon/sgx/check.hpp"
#include "silicon/sgx/keys/platform_keys.hpp"
#include "silicon/sgx/leaves/measurement.hpp"

namespace cloister::silicon {

namespace {

constexpr std::size_t header_bytes = offsetof(arch::Sigstruct, modulus);
constexpr std::size_t body = offsetof(arch::Sigstruct, miscselect);
constexpr std::size_t body_bytes = offsetof(arch::Sigstruct, reserved4) - body;
static_assert(header_bytes == 128 && body_bytes == 128);

struct Free {
  void operator()(BIGNUM* b) const { BN_clear_free(b); }
  void operator()(BN_CTX* c) const { BN_CTX_free(c); }
};
using Number = std::unique_ptr<BIGNUM, Free>;

Number number(const arch::Modulus& m) { return Number(BN_lebin2bn(m.data(), static_cast<int>(m.size()), nullptr)); }

/// 0 <= n < m
bool in_range(const BIGNUM* n, const BIGNUM* m) { return BN_is_negative(n) == 0 && BN_cmp(n, m) < 0; }

template <std::size_t n>
bool zero(const std::array<u8, n>& bytes) {
  return std::ranges::all_of(bytes, [](u8 b) { return b == 0; });
}

}  // namespace

arch::Bytes32 signed_digest(const arch::Sigstruct& s) {
  std::array<u8, header_bytes + body_bytes> text;
  const u8* const bytes = reinterpret_cast<const u8*>(&s);
  std::memcpy(text.data(), bytes, header_bytes);
  std::memcpy(text.data() + header_bytes, bytes + body, body_bytes);
  return sha256(text);
}

bool well_formed(const arch::Sigstruct& s) {
  constexpr u32 intel = 0x8086;
  return !fails("EINIT.header", s.header != arch::sigstruct_header) &&
         !fails("EINIT.vendor", s.vendor != 0 && s.vendor != intel) &&
         !fails("EINIT.header2", s.header2 != arch::sigstruct_header2) && !fails("EINIT.exponent", s.exponent != 3) &&
         !fails("EINIT.reserved1", !zero(s.reserved1)) && !fails("EINIT.reserved2", !zero(s.reserved2)) &&
         !fails("EINIT.reserved3", !zero(s.reserved3)) && !fails("EINIT.reserved4", !zero(s.reserved4));
}

bool signature_valid(const arch::Sigstruct& s) {
  const Number signature = number(s.signature), modulus = number(s.modulus), q1 = number(s.q1), q2 = number(s.q2);
  const Number rest(BN_new()), product(BN_new());
  const std::unique_ptr<BN_CTX, Free> scratch(BN_CTX_new());
  if (!signature || !modulus || !q1 || !q2 || !rest || !product || !scratch) return false;
  BIGNUM *const r = rest.get(), *const p = product.get();
  const auto times = [&](const BIGNUM* a, const BIGNUM* b) { return BN_mul(p, a, b, scratch.get()) == 1; };

  if (!in_range(signature.get(), modulus.get())) return false;
  // With the right quotients, S^2 - Q1 M is S^2 mod M, and (S^2 mod M) S - Q2 M is S^3 mod M: no division.
  if (BN_sqr(r, signature.get(), scratch.get()) != 1 || !times(q1.get(), modulus.get()) || BN_sub(r, r, p) != 1 ||
      !in_range(r, modulus.get())) {
    return false;
  }
  const Number square(BN_dup(r));
  if (!square || BN_mul(r, square.get(), signature.get(), scratch.get()) != 1 || !times(q2.get(), modulus.get()) ||
      BN_sub(r, r, p) != 1 || !in_range(r, modulus.get())) {
    return false;
  }
  arch::Modulus message;
  if (BN_bn2binpad(r, message.data(), static_cast<int>(message.size())) < 0) return false;
  const auto& padding = signature_padding();
  return std::equal(padding.begin(), padding.end(), message.begin()) &&
         std::ranges::equal(std::span(message).subspan(padding.size()), signed_digest(s));
}

arch::Bytes32 mrsigner_of(const arch::Sigstruct& s) { return sha256(s.modulus); }

}  // namespace cloister::silicon
