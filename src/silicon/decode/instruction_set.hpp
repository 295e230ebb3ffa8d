// Which bits of CPUID say that a processor has an instruction (SDM vol. 2, "CPUID Feature Flag" of each instruction).
#pragma once

#include <Zydis/Zydis.h>

#include <optional>
#include <vector>

#include "arch/cpuid.hpp"

namespace cloister::silicon {

/// All of the bits must be set; none: every processor has it. nullopt: no processor offers it to software by CPUID
/// (SEAM and TDX; the first Xeon Phi's), or the set is none of Zydis'.
std::optional<std::vector<arch::CpuidBit>> offered_by(ZydisISASet set, ZydisMnemonic mnemonic);

}  // namespace cloister::silicon
