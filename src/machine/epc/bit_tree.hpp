// A set of numbers below a bound, that finds the last member at or before a number in logarithmic time: a bit for each
// number, above them a bit for each word that has one set, and so on up to one word.
#pragma once

#include <array>
#include <bit>
#include <cassert>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// Lives in zeroed memory that somebody else owns.
class BitTree {
 public:
  static constexpr u64 bytes_for(u64 bound) {
    u64 words = 0;
    for (u64 bits = bound; bits != 0; bits = words_for(bits) == 1 ? 0 : words_for(bits)) words += words_for(bits);
    return words * sizeof(u64);
  }

  BitTree() = default;
  /// `memory`: bytes_for(bound) of them, zero, aligned to 8.
  BitTree(u64* memory, u64 bound) {
    for (u64 bits = bound; bits != 0; bits = words_for(bits) == 1 ? 0 : words_for(bits)) {
      levels_[depth_++] = memory;
      memory += words_for(bits);
    }
  }

  bool contains(u64 n) const { return (levels_[0][n / 64] >> n % 64 & 1) != 0; }
  void insert(u64 n) {
    for (unsigned level = 0; level < depth_; ++level, n /= 64) levels_[level][n / 64] |= u64{1} << n % 64;
  }
  void erase(u64 n) {
    for (unsigned level = 0; level < depth_; ++level, n /= 64) {
      levels_[level][n / 64] &= ~(u64{1} << n % 64);
      if (levels_[level][n / 64] != 0) return;
    }
  }
  /// There is one.
  u64 last_at_or_before(u64 n) const {
    u64 found = levels_[0][n / 64] & up_to(n);
    unsigned level = 0;
    while (found == 0) {  // up, to a word with a bit before ours, which stands for words that we have not seen
      ++level;
      n /= 64;
      assert(level < depth_);
      found = levels_[level][n / 64] & (up_to(n) >> 1);
    }
    n = n / 64 * 64 + last_bit(found);
    while (level-- > 0) n = n * 64 + last_bit(levels_[level][n]);
    return n;
  }

 private:
  static constexpr u64 words_for(u64 bits) { return (bits + 63) / 64; }
  static constexpr u64 up_to(u64 n) { return ~u64{0} >> (63 - n % 64); }
  static u64 last_bit(u64 word) { return static_cast<u64>(std::bit_width(word)) - 1; }

  std::array<u64*, 11> levels_{};  // 64 to the 11th covers 64 bits
  unsigned depth_ = 0;
};

}  // namespace cloister::toolstack
