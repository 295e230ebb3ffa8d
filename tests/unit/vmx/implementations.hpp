// The implementations of the door that this suite is run against. Only implementations.cpp names them.
#pragma once

#include <span>

#include "vmx/backend.hpp"

namespace cloister::vmx {

struct Implementation {
  const char* name;
  const Backend& (*backend)();
};

/// Lasts as long as the program.
std::span<const Implementation> implementations();

}  // namespace cloister::vmx
