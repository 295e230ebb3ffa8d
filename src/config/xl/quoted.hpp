// A string as a value of xl.cfg's grammar.
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack::xl {

/// Between double quotes, as the lexer takes it back.
std::string quoted(std::string_view text);

}  // namespace cloister::toolstack::xl
