// Bytes as hexadecimal digits, two each, in lower case.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack {

std::string in_hex(std::span<const u8> bytes);
/// False: it is not so many bytes in hexadecimal.
bool from_hex(std::string_view text, std::span<u8> bytes);

}  // namespace cloister::toolstack
