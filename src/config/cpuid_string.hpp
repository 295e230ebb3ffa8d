// libxl's string form of CPUID overrides (xl.cfg(5), "cpuid"): "host,FEATURE=VALUE,…" with a value of 0, 1, x
// (default), k (the processor's) or s (the same, kept over migration).
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::toolstack {

/// The features that are forced on or off, each once, the last word counting. The error says what was found and what
/// was expected.
tl::expected<std::vector<policy::CpuidOverride>, std::string> read_cpuid_string(std::string_view text);
/// As read_cpuid_string() takes it.
std::string cpuid_string(const std::vector<policy::CpuidOverride>& overrides);

}  // namespace cloister::toolstack
