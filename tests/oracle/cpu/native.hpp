// The host's own processor, one instruction at a time.
#pragma once

#include <memory>
#include <span>

#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

/// Owns the sandbox's pages at their fixed address, the signal handlers and the registers' entry code. One at a time.
class Native {
 public:
  Native();
  ~Native();
  Native(const Native&) = delete;
  Native& operator=(const Native&) = delete;

  /// The sandbox, sandbox::bytes at sandbox::base.
  std::span<u8> memory();
  /// Runs from state.rip in 64-bit mode or, if not `bits64`, in compatibility mode, until the first exception. The
  /// INT3 that the instruction runs on to, and a fetch from a page that is not executable, are its normal end.
  Outcome run(const State& state, bool bits64);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::oracle
