// A row for each implementation of the door: all that a new one adds to this suite. No other file here names one.
#include "implementations.hpp"

#include "silicon/backend.hpp"

namespace cloister::vmx {

std::span<const Implementation> implementations() {
  static constexpr Implementation rows[] = {
      {"silicon", []() -> const Backend& { return silicon::backend(); }},
      {"checked_silicon", []() -> const Backend& { return silicon::backend(silicon::EngineKind::checked); }},
  };
  return rows;
}

}  // namespace cloister::vmx
