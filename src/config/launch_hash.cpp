// Two digits a byte.
#include "config/launch_hash.hpp"

#include <charconv>

namespace cloister::toolstack {

std::optional<std::array<u64, 4>> read_launch_hash(std::string_view text) {
  constexpr std::size_t digits = 64;
  if (text.size() != digits || text.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
    return std::nullopt;
  std::array<u64, 4> hash{};
  for (std::size_t byte = 0; byte < digits / 2; ++byte) {
    u8 value = 0;
    std::from_chars(&text[2 * byte], &text[2 * byte] + 2, value, 16);
    hash[byte / 8] |= u64{value} << (8 * (byte % 8));
  }
  return hash;
}

std::string launch_hash_text(const std::array<u64, 4>& hash) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t byte = 0; byte < sizeof hash; ++byte) {
    const u64 value = hash[byte / 8] >> (8 * (byte % 8));
    text += digits[value >> 4 & 0xf];
    text += digits[value & 0xf];
  }
  return text;
}

}  // namespace cloister::toolstack
