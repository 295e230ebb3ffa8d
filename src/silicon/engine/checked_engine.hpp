// An interpreter that has control between any two operations, and there holds what an operation did against its form
// (state/op.hpp): which registers it may change, and that one that faults changes none. What a form says is what
// an engine that compiles relies on. For tests: it is several times slower than the plain interpreter.
#pragma once

#include "silicon/engine/engine.hpp"

namespace cloister::silicon {

class CheckedEngine final : public Engine {
 public:
  void take(Block& block) override;
  /// Ends the process, with a line on stderr, where an operation is not as its form says.
  void run(Cpu& cpu, const Op* first) override;
};

}  // namespace cloister::silicon
