// What this processor is, in numbers that several of its rooms need. CPUID reports them (cpuid.cpp).
#pragma once

#include "arch/types.hpp"

namespace cloister::silicon {

/// CPUID 0x80000008 EAX[7:0] and [15:8].
inline constexpr unsigned physical_address_bits = 46;
inline constexpr unsigned linear_address_bits = 48;

/// Bits 63 to 47 are alike (SDM vol. 1, 3.3.7.1).
constexpr bool is_canonical(u64 linear) {
  constexpr unsigned unused = 64 - linear_address_bits;
  return static_cast<u64>(static_cast<i64>(linear << unused) >> unused) == linear;
}

}  // namespace cloister::silicon
