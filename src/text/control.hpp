// Files that were taken for text and are none: kernels, archives, pictures.
#pragma once

#include <optional>
#include <string_view>

#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// "found byte 0x7f, expected …" at the first control character that is no tab and no end of a line; nullopt: there is
/// none. nul: NUL bytes are none of them, since they separate words (proc(5), cmdline).
std::optional<Diagnostic> find_control(std::string_view text, std::string_view expected, bool nul = false);

}  // namespace cloister::toolstack
