// The engine that a suite runs on: ctest registers the suites of processors once for each (cmake/rooms.cmake, ENGINES).
#pragma once

#include <cstdlib>
#include <string_view>

#include "silicon/engine/engine_kind.hpp"

namespace cloister {

inline silicon::EngineKind engine_under_test() {
  const char* const name = std::getenv("CLOISTER_ENGINE");
  const bool checked = name != nullptr && std::string_view(name) == "checked";
  return checked ? silicon::EngineKind::checked : silicon::EngineKind::interpreter;
}

}  // namespace cloister
