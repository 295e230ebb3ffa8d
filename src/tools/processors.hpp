// The processors that the programs have: the software silicon, with each of its engines that this host has.
#pragma once

#include "plan/processors.hpp"
#include "silicon/backend.hpp"

namespace cloister::tools {

inline toolstack::Processors processors() {
  using silicon::EngineKind;
  return {silicon::backend(EngineKind::interpreter), [] { return silicon::find_backend(EngineKind::compiler); }};
}

}  // namespace cloister::tools
