#include "stream/checksum.hpp"

#include <zlib.h>

namespace cloister::stream {

u32 checksum(u32 before, std::span<const u8> bytes) {
  if (bytes.empty()) return before;  // zlib begins anew where there is no address
  return static_cast<u32>(::crc32_z(before, bytes.data(), bytes.size()));
}

}  // namespace cloister::stream
