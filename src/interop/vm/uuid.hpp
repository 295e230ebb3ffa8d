// UUIDs as libvirt and QEMU take them.
#pragma once

#include <string_view>

namespace cloister::toolstack::vm {

/// 32 hexadecimal digits, with dashes after 8, 12, 16 and 20 of them, or none.
inline bool is_uuid(std::string_view text) {
  constexpr std::size_t plain = 32, dashed = 36;
  if (text.size() != plain && text.size() != dashed) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = text.size() == dashed && (i == 8 || i == 13 || i == 18 || i == 23);
    const char c = text[i];
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !digit) return false;
  }
  return true;
}

}  // namespace cloister::toolstack::vm
