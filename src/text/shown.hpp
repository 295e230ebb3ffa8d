// A stranger's text in a message: quoted, without what a terminal would obey, and not too long for a line.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack {

/// "'text'"; bytes that are not printable ASCII are question marks, and what is too long ends with "…'".
std::string shown(std::string_view text);

}  // namespace cloister::toolstack
