// A stranger's text in a message: without what a terminal would obey.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack {

/// What is quoted of a stranger's text is no longer than this, whatever its length: a message is for a person to read.
inline constexpr std::size_t longest_quoted = 80;

/// The text; of one with more than `most` bytes the first of them and "…", but no half of a UTF-8 character.
std::string cut(std::string_view text, std::size_t most = longest_quoted);
/// The same of a path, which is cut only if no file has it.
std::string cut_path(std::string_view path);

/// Whole, with a question mark for a control character, and \xNN for a byte that is not UTF-8.
std::string printable(std::string_view text);

/// "'text'"; bytes that are not printable ASCII are question marks, and what is too long ends with "…'".
std::string shown(std::string_view text);

}  // namespace cloister::toolstack
