// What a package offers, as JSON: so a domain keeps the processor that it was created with, whatever becomes of the
// files that described it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>

#include "vmx/features.hpp"

namespace cloister::toolstack {

/// {"brand":…,"signature":…,"leaf1_ecx":…,…,"sgx":{"sgx2":true,…}}: the members of vmx::Features, by their names.
nlohmann::json to_json(const vmx::Features& features);
/// The error names the member that is wrong.
tl::expected<vmx::Features, std::string> read_features(const nlohmann::json& object);

}  // namespace cloister::toolstack
