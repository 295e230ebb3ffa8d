// Every count is read for itself, while the guest runs.
#include "daemon/paged_epc.hpp"

#include "arch/sizes.hpp"
#include "plan/spec.hpp"

namespace cloister::toolstack {

std::optional<PagedEpc> paged_epc(const Domain& domain) {
  if (!domain.config.epc_is_paged()) return std::nullopt;
  PagedEpc paged{.mode = paging_of(domain.config, domain.record.package.features.sgx),
                 .min = domain.config.epc_min_mib * arch::pages_per_mib,
                 .weight = domain.config.epc_weight,
                 .held = pages_of(domain.record.grants)};
  for (const auto& [package, pages] : domain.sharing.targets) paged.target += pages;
  if (paged.target == 0) paged.target = paged.held;
  const hypervisor::PagerCounts* const counts = domain.page == nullptr ? nullptr : domain.page->epc();
  if (counts == nullptr) return paged;
  paged.resident = counts->resident;
  paged.active = counts->active;
  paged.evicted = counts->evicted;
  paged.lost = counts->lost;
  paged.loads = counts->loads;
  paged.load_ns = counts->load_ns;
  paged.evictions = counts->evictions;
  paged.gates = counts->gates;
  paged.gate_ns = counts->gate_ns;
  return paged;
}

nlohmann::json to_json(const PagedEpc& paged) {
  constexpr double ns = 1e-9;
  return {{"mode", name_of(paged.mode)},
          {"min_pages", paged.min},
          {"weight", paged.weight},
          {"target_pages", paged.target},
          {"held_pages", paged.held},
          {"resident_pages", paged.resident},
          {"active_pages", paged.active},
          {"evicted_pages", paged.evicted},
          {"lost_pages", paged.lost},
          {"loads", paged.loads},
          {"load_seconds", static_cast<double>(paged.load_ns) * ns},
          {"evictions", paged.evictions},
          {"gates", paged.gates},
          {"gate_seconds", static_cast<double>(paged.gate_ns) * ns}};
}

}  // namespace cloister::toolstack
