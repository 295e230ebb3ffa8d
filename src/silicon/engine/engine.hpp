// What runs blocks. An engine is one processor's; the run loop (run.cpp) finds blocks, asks the engine to run them, and
// sees to what they left for. All engines give the same registers, flags, memory, faults, exits and counts.
//
// An engine may put handlers of its own in front of a block's operations. CLOISTER_NEXT and the entries of blocks
// (state/dispatch.hpp) call what stands in Op::handler, so an operation that an engine leaves to its handler comes back
// to it with the next one.
#pragma once

#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

class Engine {
 public:
  Engine() = default;
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// The processor that it is for, before anything else.
  virtual void attach(Cpu&) {}
  /// A block has been decoded, or decoded anew in place: then its `code` is still the old one's. It runs as it is if
  /// this does nothing.
  virtual void take(Block& block) = 0;
  /// Runs from `first`, an operation of cpu.block, on through the blocks that it leads to, until a handler leaves for
  /// the run loop: cpu.leave, cpu.at and cpu.rip say how.
  virtual void run(Cpu& cpu, const Op* first) = 0;
  /// All blocks go, between two of them.
  virtual void forget() {}
};

}  // namespace cloister::silicon
