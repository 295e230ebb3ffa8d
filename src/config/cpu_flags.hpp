// Flags beside a CPU model's name, as Nova's cpu_model_extra_flags and QEMU's -cpu have them: "sgx,+sgx1,-avx2". A name
// alone, or with a plus, switches the flag on.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::toolstack {

/// Each flag once, the last word counting, by the first name of its bit; one that libvirt knows as a bit of an MSR has
/// the name that it has there. The error says what was found and what was expected.
tl::expected<std::vector<policy::CpuidOverride>, std::string> read_cpu_flags(std::string_view text);
/// Puts a flag to those before it.
void put_cpu_flag(std::vector<policy::CpuidOverride>& flags, policy::CpuidOverride flag);
/// As read_cpu_flags() takes it.
std::string cpu_flags_text(const std::vector<policy::CpuidOverride>& flags);

}  // namespace cloister::toolstack
