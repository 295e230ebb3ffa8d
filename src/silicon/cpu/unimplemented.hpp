// Counting what this processor does not implement, by name.
#pragma once

#include <string_view>

#include "silicon/cpu/cpu.hpp"

namespace cloister::silicon {

void count_unimplemented(Cpu& cpu, std::string_view what, u64 rip);

}  // namespace cloister::silicon
