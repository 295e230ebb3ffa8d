// Remembers the last line of a console, for the report of a crash.
#pragma once

#include <span>
#include <string>

#include "arch/types.hpp"

namespace cloister::toolstack {

class LastLine {
 public:
  void feed(std::span<const u8> bytes);
  /// The line that is being written, or the last one that had something in it; without control characters.
  const std::string& text() const { return current_.empty() ? last_ : current_; }

 private:
  std::string current_, last_;
};

}  // namespace cloister::toolstack
