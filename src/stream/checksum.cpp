// Long bodies are folded: with multiplication without carries (PCLMULQDQ) 64 bytes become as many that have the same
// remainder (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction"), until 16 are
// left, whose remainder zlib takes, as it does what is short and all of it where the host has no such instruction.
#include "stream/checksum.hpp"

#include <immintrin.h>
#include <zlib.h>

#include <array>

namespace cloister::stream {

namespace {

constexpr std::size_t lane = 16, lanes = 4, least = lane * lanes;

/// x to this power, modulo the polynomial, as a number whose highest bit is the lowest power; shifted, since a product
/// of two such numbers comes out shifted the other way.
constexpr u64 power(unsigned exponent) {
  u32 remainder = 0x8000'0000;
  for (; exponent != 0; --exponent) remainder = remainder >> 1 ^ ((remainder & 1) != 0 ? 0xedb8'8320 : 0);
  return u64{remainder} << 1;
}
/// What a lane's lower and upper half are multiplied by to stand so many bits further.
constexpr std::array<u64, 2> further(unsigned bits) { return {power(bits + 32), power(bits - 32)}; }
constexpr auto by_all = further(least * 8), by_one = further(lane * 8);
static_assert(by_all[0] == 0x1'5444'2bd4 && by_all[1] == 0x1'c6e4'1596);
static_assert(by_one[0] == 0x1'7519'97d0 && by_one[1] == 0xccaa'009e);

u32 plain(u32 before, std::span<const u8> bytes) {
  if (bytes.empty()) return before;  // zlib begins anew where there is no address
  return static_cast<u32>(::crc32_z(before, bytes.data(), bytes.size()));
}

[[gnu::target("pclmul,sse4.1")]] __m128i load(const u8* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
[[gnu::target("pclmul,sse4.1")]] __m128i fold(__m128i value, __m128i by, __m128i onto) {
  const __m128i low = _mm_clmulepi64_si128(value, by, 0x00), high = _mm_clmulepi64_si128(value, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

/// Precondition: there are `least` of them.
[[gnu::target("pclmul,sse4.1")]] u32 folded(u32 before, std::span<const u8> bytes) {
  const __m128i all = load(reinterpret_cast<const u8*>(by_all.data()));
  const __m128i one = load(reinterpret_cast<const u8*>(by_one.data()));
  const u8* at = bytes.data();
  const u8* const end = at + bytes.size();
  __m128i lane0 = _mm_xor_si128(load(at), _mm_cvtsi32_si128(static_cast<int>(~before)));
  __m128i lane1 = load(at + lane), lane2 = load(at + 2 * lane), lane3 = load(at + 3 * lane);
  for (at += least; at + least <= end; at += least) {
    lane0 = fold(lane0, all, load(at));
    lane1 = fold(lane1, all, load(at + lane));
    lane2 = fold(lane2, all, load(at + 2 * lane));
    lane3 = fold(lane3, all, load(at + 3 * lane));
  }
  lane0 = fold(fold(fold(lane0, one, lane1), one, lane2), one, lane3);
  for (; at + lane <= end; at += lane) lane0 = fold(lane0, one, load(at));
  std::array<u8, lane> left;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(left.data()), lane0);
  // A remainder alone: what zlib would invert at its beginning has been.
  return plain(plain(~u32{0}, left), {at, end});
}

}  // namespace

u32 checksum(u32 before, std::span<const u8> bytes) {
  static const bool folds = __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.1") != 0;
  return folds && bytes.size() >= least ? folded(before, bytes) : plain(before, bytes);
}

}  // namespace cloister::stream
