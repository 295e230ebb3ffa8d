// Instructions that are undefined in enclave mode.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

/// #UD in enclave mode, before any other check of the instruction.
bool illegal_in_enclave(const Insn& insn, EnclaveCode where);

}  // namespace cloister::silicon
