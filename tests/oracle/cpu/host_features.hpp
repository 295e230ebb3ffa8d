// What this host's processor can be asked about.
#pragma once

#include <Zydis/Zydis.h>

namespace cloister::oracle {

/// The host has the instruction set extension (CPUID). A form that it does not have is skipped on this host.
bool host_has(ZydisISASet set);

}  // namespace cloister::oracle
