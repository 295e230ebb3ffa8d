#include "silicon/sgx/leaves/measurement.hpp"

// OpenSSL's digest objects cannot give out or take in a chaining value; the low-level calls can.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <openssl/sha.h>

#include <cstring>

namespace cloister::silicon {

namespace {

SHA256_CTX context_of(const Measurement& m) {
  SHA256_CTX c;  // as SHA256_Init() makes it, but that between blocks nothing is kept in `data`
  c.num = 0;
  c.md_len = SHA256_DIGEST_LENGTH;
  for (unsigned i = 0; i < 8; ++i) {
    u32 word;
    std::memcpy(&word, m.chain.data() + 4 * i, 4);
    c.h[i] = __builtin_bswap32(word);
  }
  const u64 bits = m.blocks * hash_block * 8;
  c.Nl = static_cast<u32>(bits);
  c.Nh = static_cast<u32>(bits >> 32);
  return c;
}

arch::Bytes32 chain_of(const SHA256_CTX& c) {
  arch::Bytes32 chain;
  for (unsigned i = 0; i < 8; ++i) {
    const u32 word = __builtin_bswap32(c.h[i]);
    std::memcpy(chain.data() + 4 * i, &word, 4);
  }
  return chain;
}

/// A 64-byte record: the leaf's name, then its fields.
class Record {
 public:
  explicit Record(u64 name) { put(0, name); }
  template <class T>
  Record& put(std::size_t at, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  std::span<const u8> bytes() const { return bytes_; }

 private:
  std::array<u8, hash_block> bytes_{};
};

// The names in ASCII, padded with zeros.
constexpr u64 name_ecreate = 0x0045'5441'4552'4345, name_eadd = 0x4444'4145, name_eextend = 0x0044'4e45'5458'4545;

}  // namespace

Measurement Measurement::start() {
  SHA256_CTX c;
  SHA256_Init(&c);
  return {chain_of(c), 0};
}

void Measurement::update(std::span<const u8> bytes) {
  SHA256_CTX c = context_of(*this);
  SHA256_Update(&c, bytes.data(), bytes.size());
  chain = chain_of(c);
  blocks += bytes.size() / hash_block;
}

arch::Bytes32 Measurement::finish() const {
  SHA256_CTX c = context_of(*this);
  arch::Bytes32 digest;
  SHA256_Final(digest.data(), &c);
  return digest;
}

void Measurement::ecreate(u32 ssa_frame_size, u64 size) {
  // CET_LEG_BITMAP_OFFSET, at 20, counts as zero without CET.
  update(Record(name_ecreate).put(8, ssa_frame_size).put(12, size).bytes());
}

void Measurement::eadd(u64 offset, const arch::Secinfo& secinfo) {
  std::array<u8, 48> head;
  std::memcpy(head.data(), &secinfo, head.size());
  update(Record(name_eadd).put(8, offset).put(16, head).bytes());
}

void Measurement::eextend(u64 offset, std::span<const u8, 256> chunk) {
  // One call for all five blocks: each call of OpenSSL's has its price.
  std::array<u8, hash_block + 256> text;
  const std::array<u64, hash_block / sizeof(u64)> head{name_eextend, offset};
  std::memcpy(text.data(), head.data(), hash_block);
  std::memcpy(text.data() + hash_block, chunk.data(), chunk.size());
  update(text);
}

arch::Bytes32 sha256(std::span<const u8> bytes) {
  arch::Bytes32 digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

}  // namespace cloister::silicon
