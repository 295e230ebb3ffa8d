#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {
constexpr std::string_view hex_digits = "0123456789abcdef";
}

std::string in_hex(std::span<const u8> bytes) {
  std::string text;
  for (const u8 byte : bytes) text.append({hex_digits[byte >> 4], hex_digits[byte & 0xf]});
  return text;
}

bool from_hex(std::string_view text, std::span<u8> bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t high = hex_digits.find(text[2 * i]), low = hex_digits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return false;
    bytes[i] = static_cast<u8>(high << 4 | low);
  }
  return true;
}

}  // namespace cloister::toolstack
