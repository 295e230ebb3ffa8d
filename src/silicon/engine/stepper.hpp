// One instruction on a bare processor, without paging: what the oracle compares with the host's CPU, and what tests of
// single instructions use. Linear address = guest-physical address = an offset into `memory` plus `memory_base`.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "silicon/decode/decode.hpp"
#include "silicon/engine/engine_kind.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

class Stepper {
 public:
  /// `memory_base` and the size are multiples of 4 KiB, up to 46 bits. The span is guest RAM at that address, read and
  /// written in place. Everything else faults as unmapped: #PF.
  Stepper(u64 memory_base, std::span<u8> memory, EngineKind engine = EngineKind::interpreter);
  ~Stepper();

  /// The processor: set registers and flags, then step. Starts in 64-bit mode at CPL 3.
  Cpu& cpu();
  void set_mode(CodeMode mode);  ///< bits64 or compat32
  void set_rip(u64 rip);

  /// Executes the instruction at RIP. The fault, if it raised one (state is then as before it, RIP at the instruction).
  /// `exited` is set if it made a VM exit instead.
  struct Result {
    std::optional<Fault> fault;
    u64 fault_address = 0;  ///< CR2 of #PF
    bool exited = false;
  };
  Result step();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
