// Approximations of 1/x and 1/sqrt(x), the same on every host (SDM vol. 2, RCPPS and RSQRTPS).
#pragma once

#include "arch/types.hpp"

namespace cloister::silicon {

u32 reciprocal(u32 x);
u32 reciprocal_sqrt(u32 x);

}  // namespace cloister::silicon
