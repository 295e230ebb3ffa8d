// An engine of a kind.
#pragma once

#include <memory>

#include "silicon/engine/engine.hpp"
#include "silicon/engine/engine_kind.hpp"

namespace cloister::silicon {

/// Whether this build and the host have it: where they have not, make_engine() gives one that interprets. To be asked
/// before a filter of system calls forbids new executable memory: what the compiler needs of it is made here.
bool engine_available(EngineKind kind);
/// Takes of the host what the kind needs; else its first processor does.
void prepare_engine(EngineKind kind);

std::unique_ptr<Engine> make_engine(EngineKind kind);

}  // namespace cloister::silicon
