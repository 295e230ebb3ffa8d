// What a fuzz target claims of its results.
#pragma once

#include <cstdio>
#include <cstdlib>

/// A claim that does not hold is a finding, named by its line: a log may hold no more of it.
inline void check(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: this claim does not hold\n", file, line);
  std::abort();
}
