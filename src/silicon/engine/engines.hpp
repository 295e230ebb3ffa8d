// An engine of a kind.
#pragma once

#include <memory>

#include "silicon/engine/engine.hpp"
#include "silicon/engine/engine_kind.hpp"

namespace cloister::silicon {

/// Whether this build has it: where it has not, make_engine() gives the interpreter.
bool engine_available(EngineKind kind);

std::unique_ptr<Engine> make_engine(EngineKind kind);

}  // namespace cloister::silicon
