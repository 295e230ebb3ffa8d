// UTF-8 (RFC 3629) of bytes that may be anything: what guests print, names of files, texts of others.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack {

/// How many of the first bytes are one character's: 1 to 4; 0: they are no character's, or there are none.
std::size_t utf8_character(std::string_view text);
/// Whether such a character is C0, DEL or C1 (which terminals obey too).
bool is_control_character(std::string_view character);

/// The text with U+FFFD for what is not UTF-8, each as far as it might have become a character (Unicode, 3.9).
std::string valid_utf8(std::string_view text);

/// Where the first byte that is not UTF-8 is; npos: nowhere.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace cloister::toolstack
