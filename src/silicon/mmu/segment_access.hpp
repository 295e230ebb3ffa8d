// Linear addresses in 16- and 32-bit code (SDM vol. 3A, 5.3).
#pragma once

#include "silicon/mmu/access.hpp"

namespace cloister::silicon {

/// Not 64-bit mode: base + offset, after the checks of type and limit. Not ok: #GP(0), or #SS(0) for SS, was raised.
Maybe linear_in_segment(Cpu& cpu, const Op* op, u8 segment, u32 offset, unsigned bytes, Access access);

}  // namespace cloister::silicon
