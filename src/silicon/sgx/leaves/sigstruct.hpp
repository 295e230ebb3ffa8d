// SIGSTRUCT: what is signed, the RSA-3072 signature with exponent 3, and the signer's identity (SDM vol. 3D, 35.14,
// 36.4.2 and EINIT).
#pragma once

#include "arch/sgx.hpp"

namespace cloister::silicon {

/// SHA-256 of the signed parts: the header block and the body.
arch::Bytes32 signed_digest(const arch::Sigstruct& s);

/// Fixed and reserved fields are as the manual wants them (all but ISVFAMILYID, which depends on the enclave).
bool well_formed(const arch::Sigstruct& s);

/// SIGNATURE^3 mod MODULUS, reduced with Q1 and Q2, is the padded signed digest.
bool signature_valid(const arch::Sigstruct& s);

/// SHA-256 of MODULUS as it lies in memory.
arch::Bytes32 mrsigner_of(const arch::Sigstruct& s);

}  // namespace cloister::silicon
