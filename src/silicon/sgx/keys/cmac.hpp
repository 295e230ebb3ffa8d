// AES-128-CMAC (NIST SP 800-38B; RFC 4493), which reports, launch tokens and key derivation are built on (SDM vol. 3D,
// 36.4).
#pragma once

#include <span>

#include "arch/sgx.hpp"

namespace cloister::silicon {

arch::Bytes16 aes_cmac(const arch::Bytes16& key, std::span<const u8> message);

/// Equality in a time that does not depend on where the difference is.
bool same_mac(const arch::Bytes16& a, const arch::Bytes16& b);

}  // namespace cloister::silicon
