// A stranger's text in a message: without what a terminal would obey.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack {

/// Whole, with a question mark for a control character, and \xNN for a byte that is not UTF-8.
std::string printable(std::string_view text);

/// "'text'"; bytes that are not printable ASCII are question marks, and what is too long ends with "…'".
std::string shown(std::string_view text);

}  // namespace cloister::toolstack
