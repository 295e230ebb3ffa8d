// CRC-32 (ISO 3309), as zlib has it.
#pragma once

#include <span>

#include "arch/types.hpp"

namespace cloister::stream {

/// Of what `before` is the checksum of, and these bytes behind it; at first 0.
u32 checksum(u32 before, std::span<const u8> bytes);

}  // namespace cloister::stream
