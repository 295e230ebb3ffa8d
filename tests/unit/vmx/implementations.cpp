// A row for each implementation of the door: all that a new one adds to this suite. No other file here names one.
#include "implementations.hpp"

#include "silicon/backend.hpp"
#include "silicon/engine/compiler_options.hpp"

namespace cloister::vmx {

std::span<const Implementation> implementations() {
  static constexpr Implementation rows[] = {
      {"silicon", []() -> const Backend& { return silicon::backend(); }},
      {"checked_silicon", []() -> const Backend& { return silicon::backend(silicon::EngineKind::checked); }},
      // It translates at once; where there is none, it is the interpreter.
      {"compiling_silicon",
       []() -> const Backend& {
         silicon::set_compiler_options({.entries = 0});
         return silicon::backend(silicon::EngineKind::compiler);
       }},
  };
  return rows;
}

}  // namespace cloister::vmx
