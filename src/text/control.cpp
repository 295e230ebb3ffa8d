#include "text/control.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

std::optional<Diagnostic> find_control(std::string_view text, std::string_view expected, bool nul) {
  Position at{.line = 1, .column = 1};
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte >= ' ' ? byte != 0x7f : c == '\t' || c == '\n' || c == '\r' || (nul && byte == 0);
    if (!plain) return Diagnostic{at, fmt::format("found byte {:#04x}, expected {}", byte, expected)};
    ++at.column;
    if (c == '\n') at = {.line = at.line + 1, .column = 1};
  }
  return std::nullopt;
}

}  // namespace cloister::toolstack
