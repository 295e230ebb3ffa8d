// Instructions that are undefined in enclave mode.
#pragma once

#include "silicon/cpu/decode.hpp"

namespace cloister::silicon {

/// #UD in enclave mode, before any other check of the instruction. `rdtsc_legal`: the processor has SGX2.
bool illegal_in_enclave(const Insn& insn, bool rdtsc_legal);

}  // namespace cloister::silicon
