// SIGSTRUCT: what its author says of an enclave, signed (SDM vol. 3D, 35.14; the check is EINIT's, 38.3).
#pragma once

#include "enclave/key.hpp"
#include "enclave/settings.hpp"

namespace cloister::enclave {

/// The 256 bytes that are signed: 0 to 127 and 900 to 1027.
std::array<u8, 256> signed_part(const arch::Sigstruct& structure);

/// Signs what the fields say now: fills in modulus, signature, Q1 and Q2.
Result<void> sign(arch::Sigstruct& structure, const SigningKey& key);
Result<arch::Sigstruct> sign(const arch::Bytes32& mrenclave, const Settings& settings, const SigningKey& key);

/// MRSIGNER: the hash of the modulus as it is stored.
arch::Bytes32 mrsigner(const arch::Sigstruct& structure);

/// What EINIT would refuse in the structure itself: fixed fields, signature, and the quotients Q1 and Q2 that go with
/// it.
Result<void> check(const arch::Sigstruct& structure);

Result<arch::Sigstruct> read_sigstruct(std::span<const u8> bytes);
std::span<const u8> bytes_of(const arch::Sigstruct& structure);

}  // namespace cloister::enclave
