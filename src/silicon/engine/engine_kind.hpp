// The engines by name (engine.hpp).
#pragma once

#include <array>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::silicon {

/// What runs a processor's code; nobody can tell them apart but by time.
enum class EngineKind : u8 {
  interpreter,
  checked,   ///< an interpreter that holds each operation against what is said of it: for tests
  compiler,  ///< translates blocks that run often to code of the host
};

struct EngineName {
  EngineKind kind;
  std::string_view name;
};
inline constexpr std::array engine_names{
    EngineName{EngineKind::interpreter, "interpreter"},
    EngineName{EngineKind::checked, "checked"},
    EngineName{EngineKind::compiler, "compiler"},
};

}  // namespace cloister::silicon
