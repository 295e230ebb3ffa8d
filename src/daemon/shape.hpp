// What a guest can tell of the domain that it runs in (a record `domain` of docs/stream.md), before there is a domain:
// a source says it of its own, and a target sees in what its own would differ.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "plan/host_features.hpp"
#include "plan/package_values.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

/// The error says why there can be no such domain.
tl::expected<std::vector<u8>, std::string> shape_of_domain(const vmx::Backend& silicon, const DomainConfig& config,
                                                           const PackageValues& package, const Grants& grants);

/// The features of its host that it has (plan/host_features.hpp); none, if it cannot be understood.
HostFeatures host_features_of_shape(std::span<const u8> shape);

/// The error says what its guest would find here that it has not, all of it.
tl::expected<void, std::string> is_same_shape(const std::vector<u8>& there, const std::vector<u8>& here);

}  // namespace cloister::toolstack
