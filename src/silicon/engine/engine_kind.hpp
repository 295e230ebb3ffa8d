// The engines by name (engine.hpp).
#pragma once

#include "arch/types.hpp"

namespace cloister::silicon {

/// What runs a processor's code; nobody can tell them apart but by time.
enum class EngineKind : u8 {
  interpreter,
  checked,  ///< an interpreter that holds each operation against what is said of it: for tests
};

}  // namespace cloister::silicon
