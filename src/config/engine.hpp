// What runs a guest's code, in the words of configurations, of the machine's description, of command lines and of
// records. Guests cannot tell one from the other but by time.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack {

enum class Engine : u8 {
  automatic,  ///< a wish: what the machine says, and if that is the same, the compiler where there is one
  interpreter,
  compiler,
};
inline constexpr std::array engines{Engine::automatic, Engine::interpreter, Engine::compiler};

constexpr std::string_view name_of(Engine engine) {
  switch (engine) {
    case Engine::automatic: return "auto";
    case Engine::interpreter: return "interpreter";
    case Engine::compiler: return "compiler";
  }
  return "unknown";
}

/// In the order of Engine.
inline constexpr std::array engine_words{name_of(Engine::automatic), name_of(Engine::interpreter),
                                         name_of(Engine::compiler)};

/// nullopt: no such word.
constexpr std::optional<Engine> read_engine(std::string_view word) {
  for (const Engine engine : engines) {
    if (name_of(engine) == word) return engine;
  }
  return std::nullopt;
}

}  // namespace cloister::toolstack
