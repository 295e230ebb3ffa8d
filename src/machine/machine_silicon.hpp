// From CPUID leaves to what a package offers: a machine's own processors, which machine.toml names.
#pragma once

#include <string_view>

#include "policy/descriptions.hpp"
#include "vmx/features.hpp"

namespace cloister::toolstack {

/// What a processor with these leaves offers.
vmx::Features features_of(const policy::CpuidTable& leaves);

/// The leaves as a 64-bit program sees them: SYSCALL's bit reads 0 outside 64-bit mode, where many programs ask.
policy::CpuidTable with_syscall(policy::CpuidTable leaves);

/// What the packages of a machine offer whose description has this `silicon` (MachineDescription).
vmx::Features machine_features(std::string_view machine);

}  // namespace cloister::toolstack
