// Appending to byte strings, by resize and copy: GCC 12 warns of overflows that are not there when insert() is inlined.
#include "platform/bytes.hpp"

#include <algorithm>

namespace cloister::platform {

void append(Bytes& bytes, std::span<const u8> more) {
  const std::size_t at = bytes.size();
  bytes.resize(at + more.size());
  std::copy(more.begin(), more.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

void append(Bytes& bytes, std::string_view text) {
  append(bytes, std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
}

}  // namespace cloister::platform
