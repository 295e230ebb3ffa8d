// The rows of ENCLS, ENCLU and ENCLV.
#pragma once

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

std::span<const Row> sgx_rows();

}  // namespace cloister::silicon
