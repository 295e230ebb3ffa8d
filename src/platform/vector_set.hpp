// A set of interrupt vectors: the local APIC's 256-bit registers ISR, TMR and IRR (SDM vol. 3A, 11.8.4).
#pragma once

#include <array>
#include <bit>
#include <optional>

#include "arch/types.hpp"

namespace cloister::platform {

struct VectorSet {
  std::array<u64, 4> words{};

  void set(u8 vector) { words[vector >> 6] |= bit(vector); }
  void clear(u8 vector) { words[vector >> 6] &= ~bit(vector); }
  bool test(u8 vector) const { return words[vector >> 6] & bit(vector); }
  std::optional<u8> highest() const {
    for (unsigned i = 4; i-- > 0;)
      if (words[i]) return static_cast<u8>(64 * i + 63 - static_cast<unsigned>(std::countl_zero(words[i])));
    return std::nullopt;
  }
  /// The register of 32 vectors that holds vectors 32 * i and up.
  u32 dword(unsigned i) const { return static_cast<u32>(words[i / 2] >> (i % 2 * 32)); }
  static u64 bit(u8 vector) { return u64{1} << (vector & 63); }
  bool operator==(const VectorSet&) const = default;
};

}  // namespace cloister::platform
