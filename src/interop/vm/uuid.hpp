// UUIDs as libvirt and QEMU take them.
#pragma once

#include <optional>
#include <string>

#include "text/uuid.hpp"

namespace cloister::toolstack::vm {

/// 32 hexadecimal digits, with dashes after 8, 12, 16 and 20 of them, or none: in the canonical form. Empty: all zeros,
/// as if none were given. nullopt: it is no UUID.
inline std::optional<std::string> uuid_of(std::string text) {
  constexpr std::size_t plain = 32;
  if (text.size() == plain) {
    for (const std::size_t place : {8u, 13u, 18u, 23u}) text.insert(place, 1, '-');
  }
  if (text == "00000000-0000-0000-0000-000000000000") return "";
  auto uuid = read_uuid(text);
  return uuid ? std::optional(*std::move(uuid)) : std::nullopt;
}

}  // namespace cloister::toolstack::vm
