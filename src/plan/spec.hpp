// From a plan to what the hypervisor takes, and from a domain's ending to what follows it.
#pragma once

#include <optional>

#include "hypervisor/domain.hpp"
#include "plan/images.hpp"
#include "plan/plan.hpp"

namespace cloister::toolstack {

/// The clock chip starts with the host's date, or a fixed one under the deterministic clock; `battery` is what a former
/// run left in it.
hypervisor::DomainSpec make_spec(const DomainPlan& plan, const Images& images, vmx::ClockMode clock,
                                 const platform::RtcBattery& battery);

/// How EPC of this domain, which is paged, is paged on silicon with these features: `trap` or `oss`.
EpcPaging paging_of(const DomainConfig& config, const vmx::SgxFeatures& features);

/// What the configuration wants after this ending; nullopt: the run is over whatever it says.
std::optional<Action> action_after(hypervisor::Ending ending, const DomainConfig& config);

}  // namespace cloister::toolstack
