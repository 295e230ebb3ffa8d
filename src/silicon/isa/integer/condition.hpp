// The sixteen conditions of Jcc, SETcc and CMOVcc by their encoding (SDM vol. 1, app. B).
#pragma once

#include "silicon/state/flags.hpp"

namespace cloister::silicon {

/// Bits 3:1 choose the test, bit 0 inverts it.
template <unsigned code>
[[gnu::always_inline]] inline bool condition(const LazyFlags& f) {
  constexpr unsigned test = code >> 1;
  bool v;
  if constexpr (test == 0) {
    v = f.of();
  } else if constexpr (test == 1) {
    v = f.cf();
  } else if constexpr (test == 2) {
    v = f.zf();
  } else if constexpr (test == 3) {
    v = f.cf() || f.zf();
  } else if constexpr (test == 4) {
    v = f.sf();
  } else if constexpr (test == 5) {
    v = f.pf();
  } else if constexpr (test == 6) {
    v = f.sf() != f.of();
  } else {
    v = f.zf() || f.sf() != f.of();
  }
  return v != ((code & 1) != 0);
}

}  // namespace cloister::silicon
