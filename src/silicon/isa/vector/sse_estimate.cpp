// RCPPS, RCPSS, RSQRTPS and RSQRTSS: approximations that must not depend on the host's model.
//
// The manual allows a relative error of 1.5 * 2^-12 (SDM vol. 2, RCPPS and RSQRTPS). Ours is the exact value truncated
// to 24 significant bits, computed with integers. MXCSR is neither used nor changed: a denormal source is a zero of its
// sign, and a result too small for a normal number is a zero of its sign.
#include "silicon/isa/vector/sse_estimate.hpp"

#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

constexpr u32 sign_bit = 0x8000'0000, infinity = 0x7f80'0000, quiet_bit = 0x40'0000, fraction_mask = 0x7f'ffff,
              implicit_bit = 0x80'0000, default_nan = 0xffc0'0000;

u32 exponent_of(u32 x) { return (x >> 23) & 0xff; }
bool is_nan(u32 x) { return (x & ~sign_bit) > infinity; }

}  // namespace

u32 reciprocal(u32 x) {
  const u32 sign = x & sign_bit, e = exponent_of(x), f = x & fraction_mask;
  if (is_nan(x)) return x | quiet_bit;
  if (e == 0xff) return sign;
  if (e == 0) return sign | infinity;
  if (e >= 253) return sign;  // from 2^126 on the manual lets the result be zero
  // 1 / (1.f * 2^(e - 127)): exact for f = 0, else a significand in (1/2, 1) with the exponent one lower.
  const int exponent = (f == 0 ? 254 : 253) - static_cast<int>(e);
  const u32 significand = f == 0 ? 0 : static_cast<u32>((u64{1} << 47) / (implicit_bit | f)) & fraction_mask;
  return sign | (static_cast<u32>(exponent) << 23) | significand;
}

namespace {

/// The largest r with r * r <= v, for v < 2^62.
u64 integer_sqrt(u64 v) {
  u64 r = 0;
  for (u64 bit = u64{1} << 30; bit != 0; bit >>= 1) {
    if ((r | bit) * (r | bit) <= v) r |= bit;
  }
  return r;
}

}  // namespace

u32 reciprocal_sqrt(u32 x) {
  const u32 sign = x & sign_bit, e = exponent_of(x), f = x & fraction_mask;
  if (is_nan(x)) return x | quiet_bit;
  if (e == 0) return sign | infinity;
  if (sign != 0) return default_nan;
  if (e == 0xff) return 0;
  // x = m * 2^(2k), m in [1, 4) with 23 fraction bits: 1/sqrt(x) = sqrt(1/m) * 2^-k, sqrt(1/m) in (1/2, 1].
  const bool odd = (e & 1) == 0;  // of the unbiased exponent
  const u32 m = (implicit_bit | f) << (odd ? 1 : 0);
  const int k = (static_cast<int>(e) - 127 - (odd ? 1 : 0)) / 2;
  if (m == implicit_bit) return static_cast<u32>(127 - k) << 23;
  // floor(2^24 * sqrt(2^23 / m)) = floor(sqrt(floor(2^71 / m))), which is in [2^23, 2^24).
  const u64 root = integer_sqrt(static_cast<u64>((u128{1} << 71) / m));
  return (static_cast<u32>(126 - k) << 23) | (static_cast<u32>(root) & fraction_mask);
}

namespace {

template <u32 (*function)(u32), unsigned lanes>
struct Estimate : VectorTraits<4 * lanes, lanes == 4 ? Align::vector : Align::none, Lanes::integer> {
  static __m128i apply(__m128i a, __m128i b) {
    std::array<u32, 4> from, to;
    std::memcpy(from.data(), &b, 16);
    std::memcpy(to.data(), &a, 16);
    for (unsigned i = 0; i < lanes; ++i) to[i] = function(from[i]);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(to.data()));
  }
};

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_RCPSS, select_vector<Estimate<reciprocal, 1>>},
    {ZYDIS_MNEMONIC_RCPPS, select_vector<Estimate<reciprocal, 4>>},
    {ZYDIS_MNEMONIC_RSQRTSS, select_vector<Estimate<reciprocal_sqrt, 1>>},
    {ZYDIS_MNEMONIC_RSQRTPS, select_vector<Estimate<reciprocal_sqrt, 4>>},
};

}  // namespace

std::span<const Row> sse_estimate_rows() { return rows; }

}  // namespace cloister::silicon
