#include "text/base64.hpp"

#include <algorithm>

namespace cloister::toolstack {

namespace {
constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

std::string in_base64(std::span<const u8> bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t some = std::min<std::size_t>(3, bytes.size() - i);
    u32 bits = 0;
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < some ? bytes[i + j] : 0U);
    for (std::size_t j = 0; j < 4; ++j) text += j > some ? '=' : base64_digits[bits >> (18 - 6 * j) & 63];
  }
  return text;
}

bool from_base64(std::string_view text, std::span<u8> bytes) {
  if (text.size() != (bytes.size() + 2) / 3 * 4) return false;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t some = std::min<std::size_t>(3, bytes.size() - i);
    u32 bits = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const char digit = text[i / 3 * 4 + j];
      const std::size_t value = base64_digits.find(digit);
      if (j > some ? digit != '=' : value == std::string_view::npos) return false;
      bits = bits << 6 | (j > some ? 0U : static_cast<u32>(value));
    }
    if ((bits & ((u32{1} << 8 * (3 - some)) - 1)) != 0) return false;
    for (std::size_t j = 0; j < some; ++j) bytes[i + j] = static_cast<u8>(bits >> (16 - 8 * j));
  }
  return true;
}

}  // namespace cloister::toolstack
