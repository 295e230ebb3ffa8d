// Every count is read for itself, while the guest runs.
#include "daemon/balloon.hpp"

#include <algorithm>

#include "arch/sizes.hpp"

namespace cloister::toolstack {

namespace {

u64 pages_of(const EpcGrant& grant) {
  u64 pages = 0;
  for (const EpcExtent& extent : grant.extents) pages += extent.pages;
  return pages;
}

}  // namespace

u64 Balloon::lacks() const {
  u64 pages = 0;
  for (const Section& section : sections) pages += section.lacks;
  return pages;
}

nlohmann::json to_json(const Balloon& balloon) {
  return {{"target_pages", balloon.target}, {"given_pages", balloon.given}, {"lacking_pages", balloon.lacks()}};
}

std::optional<Balloon> balloon_of(const Domain& domain) {
  const hypervisor::BalloonCounts* const counts = domain.page == nullptr ? nullptr : domain.page->balloon();
  if (counts == nullptr || domain.config.epc.empty()) return std::nullopt;
  const u64 sees = domain.config.epc_mib() * arch::pages_per_mib;
  Balloon balloon{.target = std::min(counts->target.load(), sees), .given = std::min(counts->given.load(), sees)};
  const std::vector<EpcSection>& epc = domain.config.epc;
  const Grants& grants = domain.record.grants;
  static_assert(most_epc_sections <= hypervisor::BalloonCounts::most_ranges);
  if (domain.config.epc_is_paged() || grants.size() != epc.size()) return balloon;
  for (std::size_t i = 0; i < epc.size(); ++i) {
    const u64 has = pages_of(grants[i]), needs = std::min(counts->needs[i].load(), epc[i].mib * arch::pages_per_mib);
    balloon.sections.push_back({.spare = has - std::min(has, needs), .lacks = needs - std::min(has, needs)});
  }
  return balloon;
}

}  // namespace cloister::toolstack
