// Whether a word is one of a list's.
#pragma once

#include <algorithm>
#include <string_view>

namespace cloister::toolstack::vm {

template <std::size_t n>
bool among(std::string_view word, const std::string_view (&words)[n]) {
  return std::ranges::find(words, word) != std::end(words);
}

}  // namespace cloister::toolstack::vm
