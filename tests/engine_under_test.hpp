// The engine that a suite runs on: ctest registers the suites of processors once for each (cmake/rooms.cmake, ENGINES).
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "silicon/engine/engine_kind.hpp"

namespace cloister {

inline silicon::EngineKind engine_under_test() {
  const char* const name = std::getenv("CLOISTER_ENGINE");
  if (name == nullptr) return silicon::EngineKind::interpreter;
  if (std::string_view(name) == "checked") return silicon::EngineKind::checked;
  std::fprintf(stderr, "CLOISTER_ENGINE: found '%s', expected 'checked'\n", name);
  std::abort();  // or a suite would pass on another engine than it says
}

}  // namespace cloister
