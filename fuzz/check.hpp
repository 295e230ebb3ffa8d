// What a fuzz target claims of its results.
#pragma once

#include <cstdlib>

/// A claim that does not hold is a finding.
inline void check(bool holds) {
  if (!holds) std::abort();
}
