// The address of one element of an operand in memory, which is checked by itself (SDM vol. 2, VMASKMOV, VPGATHERDD).
#pragma once

#include "silicon/isa/avx/avx.hpp"
#include "silicon/mmu/access.hpp"

namespace cloister::silicon {

/// `distance` bytes behind the operand's effective address. False: a fault.
bool element_address(Cpu& cpu, const Op* op, u64 distance, unsigned bytes, Access access, u64& linear);

}  // namespace cloister::silicon
