// One instruction with a memory operand, carried out by the hypervisor because a device answers at its address. What an
// operating system uses on device memory: moves, string moves, and read-modify-write arithmetic.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <variant>

#include "hypervisor/instruction.hpp"
#include "hypervisor/linear.hpp"

namespace cloister::hypervisor {

/// An instruction that is not in the table.
struct NotEmulated {};

/// Whether the instruction is complete: a repeated string instruction does one element at a time, so that interrupts
/// come between elements as they do on hardware.
enum class Progress : u8 { complete, again };

/// Changes `general` (not RIP) and memory as the instruction does. After an error nothing has changed.
tl::expected<Progress, std::variant<Fault, NotEmulated>> emulate(const Instruction& insn, vmx::GeneralRegs& general,
                                                                 const vmx::SystemRegs& system, OperandMemory& memory);

}  // namespace cloister::hypervisor
