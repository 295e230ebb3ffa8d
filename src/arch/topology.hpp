// Which processors are of a package: those whose APIC IDs have all but their lowest bits in common (SDM vol. 3A, 8.9).
#pragma once

#include <bit>

#include "arch/types.hpp"

namespace cloister::arch {

/// Processors with the APIC IDs 0 to `processors` - 1, spread over so many packages: the IDs of a package, a power of
/// two. The last one that has some may have fewer, and those behind it none.
constexpr u32 ids_of_package(u32 processors, u32 packages) {
  return std::bit_ceil((processors + packages - 1) / packages);
}

}  // namespace cloister::arch
