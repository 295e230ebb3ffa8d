// What a configuration's domain has for a CPU: the policy that `cloister run` would give it on a machine of one
// package, with launch control unlocked.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "policy/policy.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack::vm {

/// The error stands at the key that asks for what cannot be had.
tl::expected<policy::CpuidTable, Diagnostic> policy_of(const DomainConfig& config, const vmx::Backend& silicon);

/// First names of the SGX features that are set, in the table's order.
std::vector<std::string> sgx_features_of(const policy::CpuidTable& table);

}  // namespace cloister::toolstack::vm
