// A launch key's hash as a person writes it: the SHA-256 digest of the modulus, byte 0 first. IA32_SGXLEPUBKEYHASHn
// holds bytes 8n to 8n+7, little-endian (SDM vol. 3D, 37.1.4).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// nullopt: not 64 hexadecimal digits.
std::optional<std::array<u64, 4>> read_launch_hash(std::string_view text);
/// As read_launch_hash() takes it, in small letters.
std::string launch_hash_text(const std::array<u64, 4>& hash);
inline constexpr const char* launch_hash_form = "64 hexadecimal digits, the SHA-256 digest of the launch key's modulus";

}  // namespace cloister::toolstack
