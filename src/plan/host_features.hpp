// Features that are on some hosts' processors and not on others, whatever silicon is described: AVX, and what needs it.
// A domain has those that its host has when it is made, and keeps them for its life, wherever it goes on: they are bits
// of what its package offers (vmx/features.hpp), chosen once (chosen_silicon.hpp). Of AES, PCLMULQDQ and SHA it has
// what each host has, and goes on only where that is the same.
#pragma once

#include <string_view>
#include <vector>

#include "config/domain_config.hpp"
#include "hypervisor/saving/state.hpp"
#include "vmx/features.hpp"

namespace cloister::toolstack {

/// Names of some, as `cpuid` has them, in the order of all.
using HostFeatures = std::vector<std::string_view>;

const HostFeatures& all_host_features();
/// null: no name of one.
const std::string_view* find_host_feature(std::string_view name);
/// That are offered, where the host has them.
HostFeatures host_features_of(const vmx::Features& features);
/// That a domain has which goes on.
HostFeatures host_features_of(const hypervisor::DomainShape& shape);
/// All, if the configuration demands AVX, else none: what a domain has without a choice. So it was before there was
/// one, and so it is under the deterministic clock, where each host shows the same.
HostFeatures demanded_host_features(const DomainConfig& config);

/// The same features, with none of these beyond `chosen`.
vmx::Features with_host_features(vmx::Features features, const HostFeatures& chosen);

}  // namespace cloister::toolstack
