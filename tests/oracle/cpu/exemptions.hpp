// Forms that do not run natively, or only to their fault, and why.
#pragma once

#include <string_view>

#include "oracle/cpu/instruction.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {

struct Exemption {
  const char* form;     ///< pattern of form keys, with * and ?
  const char* reason;   ///< with the manual's page
  const char* test;     ///< what tests it instead
  bool fault = false;   ///< it runs natively all the same: its fault is compared
  bool others = false;  ///< not for a host of Intel's
};
/// The form's exemption, or null.
const Exemption* exemption_of(std::string_view form);

/// Single encodings of forms that are otherwise run: where the host may differ from the manual. The reason, or null.
const char* excluded(const Instruction& instruction);

/// The same for single cases, by their operands.
const char* excluded_case(const Instruction& instruction, const State& state);

/// Forms of which no case can end without a fault (UD2).
bool always_faults(std::string_view form);

}  // namespace cloister::oracle
