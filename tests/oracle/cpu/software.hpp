// The software processor, one instruction at a time, with the native runner's interface.
#pragma once

#include <span>
#include <vector>

#include "oracle/cpu/state.hpp"
#include "silicon/engine/stepper.hpp"

namespace cloister::oracle {

class Software {
 public:
  Software();

  std::span<u8> memory() { return memory_; }
  Outcome run(const State& state, bool bits64);
  silicon::Cpu& cpu() { return stepper_.cpu(); }

 private:
  std::vector<u8> storage_;
  std::span<u8> memory_;  ///< of storage_, aligned to a page
  silicon::Stepper stepper_;
};

/// Segment descriptors as Linux sets them up (SDM vol. 3A, figure 3-8), for the first 64 bytes of sandbox::tables.
std::array<u64, 8> descriptor_table();

}  // namespace cloister::oracle
