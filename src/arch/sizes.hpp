// Sizes that documents and people speak of, in bytes and in pages of 4 KiB.
#pragma once

#include "arch/types.hpp"

namespace cloister::arch {

inline constexpr u64 mib = 1 << 20;
inline constexpr u64 pages_per_mib = mib / page_size;

}  // namespace cloister::arch
