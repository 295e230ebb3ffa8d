// An engine of a kind.
#pragma once

#include <memory>

#include "silicon/engine/engine.hpp"
#include "silicon/engine/engine_kind.hpp"

namespace cloister::silicon {

std::unique_ptr<Engine> make_engine(EngineKind kind);

}  // namespace cloister::silicon
