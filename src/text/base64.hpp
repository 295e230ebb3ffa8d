// Bytes in base64 (RFC 4648, section 4), of which each has one form.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack {

std::string in_base64(std::span<const u8> bytes);
/// False: it is not so many bytes in base64. Bits that stand for nothing must be zero.
bool from_base64(std::string_view text, std::span<u8> bytes);

}  // namespace cloister::toolstack
