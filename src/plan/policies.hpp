// What a domain's processors answer, beside what it was made from: the five stages that Xen has, for `info --policy`. A
// domain's policy follows from its configuration and its machine, so it is fixed before the first run.
#pragma once

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "config/config.hpp"
#include "plan/package_values.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

struct Policy {
  policy::CpuidTable cpuid;
  policy::MsrPolicy msr;
};

struct Policies {
  Policy raw;       ///< the machine's processors
  Policy host;      ///< raw, without features that need one which is not there
  Policy maximum;   ///< the most that a domain of this machine could be given
  Policy standard;  ///< this domain's, if its configuration changed nothing: Xen's "default"
  Policy domain;
  bool sgx_provision = false;
};

/// Of a domain with these frames, and of what its package was made. The error stands in the configuration; a domain
/// that runs has none.
tl::expected<Policies, Diagnostic> make_policies(const vmx::Backend& silicon, const MachineDescription& machine,
                                                 const DomainConfig& config, const Grants& grants,
                                                 const PackageValues& own);

/// {"raw":{"cpuid":[…],"msrs":[…]},"host":…,"maximum":…,"default":…,"domain":…,"sgx_provision":false}
nlohmann::json to_json(const Policies& policies);

}  // namespace cloister::toolstack
