// Enclaves and SIGSTRUCTs as text.
#pragma once

#include "enclave/sigstruct.hpp"

namespace cloister::enclave {

std::string hex(std::span<const u8> bytes);
std::string describe(const Stream& stream);
std::string describe(const arch::Sigstruct& structure);

}  // namespace cloister::enclave
