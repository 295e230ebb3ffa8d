// The oracle's random numbers: SplitMix64, and values that lie where instructions change their minds.
#pragma once

#include <array>

#include "arch/types.hpp"

namespace cloister::oracle {

class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}

  u64 next() {
    u64 z = (state_ += 0x9e37'79b9'7f4a'7c15);
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
    return z ^ (z >> 31);
  }
  /// 0 to n - 1.
  u64 below(u64 n) { return static_cast<u64>((static_cast<u128>(next()) * n) >> 64); }
  bool percent(unsigned p) { return below(100) < p; }
  template <class T, std::size_t n>
  const T& of(const std::array<T, n>& choices) {
    return choices[below(n)];
  }

  u64 integer();  ///< 64 bits: boundaries of every operand size, small numbers, single bits, noise
  u32 float32();  ///< every class of single precision, biased to neighbours of powers of two
  u64 float64();  ///< the same in double precision
  /// Extended precision with pseudo-denormals, unnormals, pseudo-infinities and pseudo-NaNs.
  struct Extended {
    u64 mantissa;
    u16 sign_exponent;
  };
  Extended float80();

 private:
  u64 state_;
};

}  // namespace cloister::oracle
