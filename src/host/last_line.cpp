// A line ends with a line feed; longer ones than a screen's are cut.
#include "host/last_line.hpp"

#include <utility>

namespace cloister::toolstack {

void LastLine::feed(std::span<const u8> bytes) {
  constexpr std::size_t longest = 1024;
  for (const u8 byte : bytes) {
    if (byte == '\n') {
      if (!current_.empty()) last_ = std::exchange(current_, {});
    } else if ((byte >= ' ' || byte == '\t') && byte != 0x7f && current_.size() < longest) {
      current_ += static_cast<char>(byte);
    }
  }
}

}  // namespace cloister::toolstack
