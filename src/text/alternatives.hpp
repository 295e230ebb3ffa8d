// The words that may stand somewhere, for a message about another one that does.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cloister::toolstack {

/// "a", "b" or "c", each in double quotes; the words are our own.
std::string alternatives(std::span<const std::string_view> words);

}  // namespace cloister::toolstack
