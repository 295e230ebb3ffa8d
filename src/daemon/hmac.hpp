// HMAC-SHA-256 (RFC 2104): what only who has the key can say.
#pragma once

#include <span>
#include <string_view>

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::toolstack {

arch::Bytes32 hmac_sha256(std::span<const u8> key, std::string_view text);

}  // namespace cloister::toolstack
