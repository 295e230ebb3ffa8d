// libxl's other form of CPUID overrides (xl.cfg(5), "cpuid"): a list of leaves with their registers, bit by bit, as
// "0x7,0:ecx=x0…x". The letters are the string form's values.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::toolstack {

/// What an element of the list forces on or off. The error says what was found and what was expected.
tl::expected<std::vector<policy::CpuidOverride>, std::string> read_cpuid_registers(std::string_view text);

}  // namespace cloister::toolstack
