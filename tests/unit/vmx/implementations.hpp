// The implementations of the door that this suite is run against. Only implementations.cpp names them.
#pragma once

#include <ostream>
#include <span>

#include "vmx/backend.hpp"

namespace cloister::vmx {

struct Implementation {
  const char* name;
  const Backend& (*backend)();
  friend std::ostream& operator<<(std::ostream& to, const Implementation& i) { return to << i.name; }
};

/// Lasts as long as the program.
std::span<const Implementation> implementations();

}  // namespace cloister::vmx
