// How the root of a domain's evicted pages leaves a machine (vmx/root_mover.hpp): AES-256-GCM (NIST SP 800-38D) under
// the key of one session, which seals nothing else, so that the initialisation vector is 0.
#pragma once

#include <span>

#include "arch/sgx.hpp"

namespace cloister::silicon {

arch::Bytes16 seal_root(const arch::Bytes32& key, std::span<const u8> aad, std::span<const u8> root, u8* sealed);
/// False: the tag is another; `root` is zeroed then.
bool open_root(const arch::Bytes32& key, std::span<const u8> aad, std::span<const u8> sealed, const arch::Bytes16& tag,
               std::span<u8> root);

/// In a time that does not depend on where the difference is.
bool same_digest(const arch::Bytes32& a, const arch::Bytes32& b);
void erase(std::span<u8> secret);

}  // namespace cloister::silicon
