// MRENCLAVE of a stream: SHA-256 over what ECREATE, EADD and EEXTEND feed to it (SDM vol. 3D, 35.1.2, 38.3).
#pragma once

#include "enclave/stream.hpp"

namespace cloister::enclave {

arch::Bytes32 sha256(std::span<const u8> bytes);
arch::Bytes32 measure(const Stream& stream);

}  // namespace cloister::enclave
