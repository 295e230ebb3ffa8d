// A bit of CPUID's answer as people write one: "7.0.ebx[2]", "0x12.1.eax[4]", "1.ecx[5]", "CPUID.12H.0:EAX[0]".
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "policy/policy.hpp"

namespace cloister::policy {

/// The text is meant to be a bit, right or wrong, and no name: names of features have no brackets.
bool looks_like_bit(std::string_view text);

/// A leaf, perhaps a sub-leaf (else 0), a register and a bit. Leaves are decimal, or hexadecimal with 0x before them or
/// an H behind. The error says what was expected.
tl::expected<CpuidBit, std::string> read_bit(std::string_view text);

}  // namespace cloister::policy
