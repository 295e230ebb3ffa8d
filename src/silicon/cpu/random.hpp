// The source of RDRAND and RDSEED: seeded under the deterministic clock, the host's otherwise.
#pragma once

#include "silicon/cpu/cpu.hpp"

namespace cloister::silicon {

u64 random_u64(Cpu& cpu);

}  // namespace cloister::silicon
