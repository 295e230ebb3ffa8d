// Where the software silicon is got, as an implementation of vmx/. For tools and tests.
#pragma once

#include "silicon/engine/engine_kind.hpp"
#include "vmx/backend.hpp"

namespace cloister::silicon {

/// One of each kind for the whole process; needs nothing of the host.
const vmx::Backend& backend(EngineKind engine = EngineKind::interpreter);
/// Null: there is no such engine here.
const vmx::Backend* find_backend(EngineKind engine);

}  // namespace cloister::silicon
