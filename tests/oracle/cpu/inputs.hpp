// Random initial states for an instruction.
#pragma once

#include <span>

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

/// The sandbox in both worlds, always written together.
struct Sandbox {
  std::span<u8> native, software;

  /// Writes those of the bytes that fall into the data.
  void write(u64 linear, std::span<const u8> bytes);
  template <class T>
  void put(u64 linear, const T& value) {
    write(linear, {reinterpret_cast<const u8*>(&value), sizeof value});
  }
  u8* at(u64 linear) { return native.data() + (linear - sandbox::base); }
};

/// A state at sandbox::instruction in which `instruction` does something that matters, and memory for its operands.
State make_inputs(const Instruction& instruction, Random& random, Sandbox& memory);

}  // namespace cloister::oracle
