// Unpacking a kernel's payload: LZ4's legacy frame (lz4_Frame_format, "Legacy frame"), gzip (RFC 1952), xz and zstd
// (RFC 8878), recognised by their magic numbers.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>

#include "platform/bytes.hpp"

namespace cloister::platform {

/// The largest kernel that is unpacked.
inline constexpr u64 max_unpacked_bytes = u64{1} << 30;

/// payload: the compressed stream with the unpacked size in its last 4 bytes, as the kernel's build appends it (gzip
/// has it as its own trailer). An ELF that is not compressed comes back as it is.
tl::expected<Bytes, std::string> unpack(std::span<const u8> payload);

}  // namespace cloister::platform
