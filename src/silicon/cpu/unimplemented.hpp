// Counting what this processor does not implement, by instruction and set.
#pragma once

#include <Zydis/Zydis.h>

#include "silicon/cpu/cpu.hpp"

namespace cloister::silicon {

void count_unimplemented(Cpu& cpu, ZydisMnemonic what, ZydisISASet set, u64 rip);

}  // namespace cloister::silicon
