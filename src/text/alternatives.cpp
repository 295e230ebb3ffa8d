#include "text/alternatives.hpp"

namespace cloister::toolstack {

std::string alternatives(std::span<const std::string_view> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i != 0) text += i + 1 == words.size() ? " or " : ", ";
    text.append("\"").append(words[i]).append("\"");
  }
  return text;
}

}  // namespace cloister::toolstack
