#include "enclave/sigstruct.hpp"

#include <fmt/format.h>
#include <openssl/bn.h>

#include <algorithm>
#include <cstring>

#include "arch/try.hpp"
#include "enclave/measure.hpp"

namespace cloister::enclave {
namespace {

using arch::Modulus;
using arch::Sigstruct;

constexpr u32 vendor_intel = 0x8086;
constexpr std::size_t signed_head = 128, signed_from = 900, signed_tail = 128;

/// DigestInfo of SHA-256 (RFC 8017, 9.2, note 1).
constexpr u8 digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                              0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

struct Free {
  void operator()(BIGNUM* number) const { BN_free(number); }
  void operator()(BN_CTX* context) const { BN_CTX_free(context); }
};
using Number = std::unique_ptr<BIGNUM, Free>;

Number number(const Modulus& bytes) {
  return Number(BN_lebin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
}
Modulus bytes(const BIGNUM* value) {
  Modulus out{};
  BN_bn2lebinpad(value, out.data(), static_cast<int>(out.size()));
  return out;
}

/// With S the signature and M the modulus: Q1 = S² / M, Q2 = S · (S² mod M) / M, and S³ mod M.
struct Quotients {
  Modulus q1{}, q2{}, cube{};
};

Result<Quotients> quotients(const Modulus& signature, const Modulus& modulus) {
  const Number s = number(signature), m = number(modulus), product(BN_new()), quotient(BN_new()), rest(BN_new());
  const std::unique_ptr<BN_CTX, Free> context(BN_CTX_new());
  if (!s || !m || !product || !quotient || !rest || !context) return tl::unexpected(std::string("out of memory"));
  if (BN_num_bits(m.get()) != 3072 || BN_cmp(s.get(), m.get()) >= 0) {
    return tl::unexpected(std::string("the signature is not below a modulus of 3072 bits"));
  }
  Quotients result;
  BN_sqr(product.get(), s.get(), context.get());
  BN_div(quotient.get(), rest.get(), product.get(), m.get(), context.get());
  result.q1 = bytes(quotient.get());
  BN_mul(product.get(), s.get(), rest.get(), context.get());
  BN_div(quotient.get(), rest.get(), product.get(), m.get(), context.get());
  result.q2 = bytes(quotient.get());
  result.cube = bytes(rest.get());
  return result;
}

/// The number that a signature's cube has to be: EMSA-PKCS1-v1_5 of the digest (RFC 8017, 9.2), little-endian.
Modulus encoded(const arch::Bytes32& digest) {
  Modulus block;
  block.fill(0xff);
  block[0] = 0x00;
  block[1] = 0x01;
  auto at = block.end() - static_cast<std::ptrdiff_t>(sizeof digest_info + digest.size());
  at[-1] = 0x00;
  at = std::copy(std::begin(digest_info), std::end(digest_info), at);
  std::ranges::copy(digest, at);
  std::ranges::reverse(block);
  return block;
}

template <std::size_t N>
bool zero(const std::array<u8, N>& field) {
  return std::ranges::all_of(field, [](u8 b) { return b == 0; });
}

}  // namespace

std::array<u8, 256> signed_part(const Sigstruct& structure) {
  std::array<u8, 256> part{};
  const auto all = bytes_of(structure);
  std::ranges::copy(all.first(signed_head), part.begin());
  std::ranges::copy(all.subspan(signed_from, signed_tail), part.begin() + signed_head);
  return part;
}

Result<void> sign(Sigstruct& structure, const SigningKey& key) {
  structure.modulus = key.modulus();
  const auto signature = TRY(key.sign(signed_part(structure)));
  const auto parts = TRY(quotients(signature, structure.modulus));
  structure.signature = signature;
  structure.q1 = parts.q1;
  structure.q2 = parts.q2;
  return {};
}

Result<Sigstruct> sign(const arch::Bytes32& mrenclave, const Settings& settings, const SigningKey& key) {
  if (std::string problem = problem_of(settings); !problem.empty()) return tl::unexpected(std::move(problem));
  Sigstruct structure{};
  structure.header = arch::sigstruct_header;
  structure.header2 = arch::sigstruct_header2;
  structure.date = settings.date;
  structure.exponent = 3;
  structure.miscselect = settings.miscselect;
  structure.miscmask = ~u32{0};
  structure.isvfamilyid = settings.isvfamilyid;
  structure.isvextprodid = settings.isvextprodid;
  structure.attributes = settings.attributes;
  structure.attributemask = {.flags = ~u64{0}, .xfrm = ~u64{0}};
  structure.enclavehash = mrenclave;
  structure.isvprodid = settings.isvprodid;
  structure.isvsvn = settings.isvsvn;
  TRY(sign(structure, key));
  return structure;
}

arch::Bytes32 mrsigner(const Sigstruct& structure) { return sha256(structure.modulus); }

Result<void> check(const Sigstruct& structure) {
  const auto error = [](const char* text) { return tl::unexpected(std::string(text)); };
  if (structure.header != arch::sigstruct_header || structure.header2 != arch::sigstruct_header2) {
    return error("the header is not a SIGSTRUCT's");
  }
  if (structure.vendor != 0 && structure.vendor != vendor_intel) return error("the vendor is unknown");
  if (structure.exponent != 3) return error("the exponent is not 3");
  if (!zero(structure.reserved1) || !zero(structure.reserved2) || !zero(structure.reserved3) ||
      !zero(structure.reserved4)) {
    return error("reserved bytes are not zero");
  }
  const auto parts = TRY(quotients(structure.signature, structure.modulus));
  if (parts.cube != encoded(sha256(signed_part(structure)))) return error("the signature is wrong");
  if (parts.q1 != structure.q1 || parts.q2 != structure.q2) return error("Q1 or Q2 is wrong");
  return {};
}

Result<Sigstruct> read_sigstruct(std::span<const u8> file) {
  Sigstruct structure{};
  if (file.size() != sizeof structure) {
    return tl::unexpected(fmt::format("a SIGSTRUCT has {} bytes, not {}", sizeof structure, file.size()));
  }
  std::memcpy(&structure, file.data(), sizeof structure);
  return structure;
}

std::span<const u8> bytes_of(const Sigstruct& structure) {
  return {reinterpret_cast<const u8*>(&structure), sizeof structure};
}

}  // namespace cloister::enclave
