// Where something in a configuration file stands, and what is to be said about it: FILE:LINE:COLUMN: message.
#pragma once

#include <string>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// Counted from 1, columns in bytes. Line 0: the file as a whole.
struct Position {
  u32 line = 0, column = 0;
  bool operator==(const Position&) const = default;
};

struct Diagnostic {
  Position at;
  std::string message;
  bool operator==(const Diagnostic&) const = default;
};

/// "FILE:LINE:COLUMN: message", or "FILE: message" for the file as a whole.
std::string format(const std::string& file, const Diagnostic& diagnostic);

}  // namespace cloister::toolstack
