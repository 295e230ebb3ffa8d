// The engine that a suite runs on: ctest registers the suites of processors once for each (cmake/rooms.cmake, ENGINES).
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister {

/// CLOISTER_ENGINE names it. The compiler translates everything at once, unless CLOISTER_COMPILE_AFTER says how often
/// a block is to be entered first.
inline silicon::EngineKind engine_under_test() {
  const char* const name = std::getenv("CLOISTER_ENGINE");
  if (name == nullptr) return silicon::EngineKind::interpreter;
  for (const silicon::EngineName& row : silicon::engine_names) {
    if (row.name != name) continue;
    if (!silicon::engine_available(row.kind)) break;
    const char* const entries = std::getenv("CLOISTER_COMPILE_AFTER");
    silicon::CompilerOptions options;
    options.entries = entries != nullptr ? static_cast<u32>(std::strtoul(entries, nullptr, 10)) : 0;
    silicon::set_compiler_options(options);
    return row.kind;
  }
  std::fprintf(stderr, "CLOISTER_ENGINE: found '%s', expected an engine that this build and host have\n", name);
  std::abort();  // or a suite would pass on another engine than it says
}

}  // namespace cloister
