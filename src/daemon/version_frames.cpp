// By the accounts and the record first, as all that is lent (lending.cpp).
#include "daemon/version_frames.hpp"

#include <algorithm>
#include <chrono>
#include <future>

#include "arch/sizes.hpp"
#include "daemon/balloon.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::milliseconds between_looks_at_transfers{5};

/// Version arrays of so many pages, and those that have the versions of arrays. One more, as the last array of what has
/// left early need not be full.
u64 version_frames(u64 pages) {
  constexpr u64 slots = hypervisor::VersionPages::slots;
  u64 frames = 1;
  for (u64 level = pages; level > 1;) {
    level = (level + slots - 1) / slots;
    frames += level;
  }
  return frames;
}

}  // namespace

u64 VersionFrames::beyond_pages(const Domain& domain, std::size_t section) {
  const Grants& grants = domain.record.grants;
  if (domain.config.epc_is_paged() || section >= grants.size() || grants.size() != domain.config.epc.size()) return 0;
  const u64 sees = domain.config.epc[section].mib * arch::pages_per_mib;
  u64 has = 0;
  for (const EpcExtent& extent : grants[section].extents) has += extent.pages;
  return has - std::min(has, sees);
}

u64 VersionFrames::kept(const Domains& domains, u32 package) {
  u64 lent = 0;
  for (const auto& [id, domain] : domains.table_) {
    for (std::size_t i = 0; i < domain->record.grants.size(); ++i) {
      if (domain->record.grants[i].package == package) lent += beyond_pages(*domain, i);
    }
  }
  const u64 all = domains.machine().versions_mib * arch::pages_per_mib;
  return all - std::min(all, lent);
}

bool VersionFrames::needs(const Domain& domain) {
  return domain.sharing.leaving != 0 || domain.record.saving || domain.moves();
}

void VersionFrames::wait_for_transfer(Domains& domains, u32 id) {
  const auto over = [&]() CLOISTER_REQUIRES(domains.lock_) {
    const auto transfer = domains.turns_.transfers.find(id);
    return domains.stopping_ || transfer == domains.turns_.transfers.end() ||
           transfer->second.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  const auto until = std::chrono::steady_clock::now() + domains.around_.patience.verb;
  while (!domains.changed_.wait_for(domains.lock_, between_looks_at_transfers, over) &&
         std::chrono::steady_clock::now() < until) {
  }
}

/// With too few it leaves all the same, if its guest does not use all pages; else its process says what is missing.
void VersionFrames::lend(Domains& domains, const std::shared_ptr<Domain>& domain) {
  const MutexLock held(domains.lock_);
  if (domains.machine().versions_mib == 0) return;
  auto& transfers = domains.turns_.transfers;
  for (std::size_t i = 0; i < domain->config.epc.size(); ++i) {
    const u32 id = domain->record.id;
    wait_for_transfer(domains, id);
    const auto before = transfers.find(id);
    const bool idle =
        before == transfers.end() || before->second.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    const auto balloon = domains.may_move(*domain) ? balloon_of(*domain) : std::nullopt;
    if (domains.stopping_ || !idle || !balloon || i >= balloon->sections.size()) return;
    const u32 package = domain->record.grants[i].package;
    const u64 wanted = version_frames(domain->config.epc[i].mib * arch::pages_per_mib), has = beyond_pages(*domain, i);
    const u64 pages = std::min(wanted - std::min(wanted, has), kept(domains, package));
    const u64 free = domains.broker_.accounts().count(package).free;
    if (std::min(pages, free) != 0) domains.lend(domain, i, std::min(pages, free));
    wait_for_transfer(domains, id);
  }
}

void VersionFrames::lend(Domains& domains, u32 id, Grants& grants, const DomainConfig& config) {
  if (config.epc_is_paged()) return;
  for (EpcGrant& grant : grants) {
    u64 pages = 0;
    for (const EpcExtent& extent : grant.extents) pages += extent.pages;
    const u64 free = domains.broker_.accounts().count(grant.package).free;
    pages = std::min({version_frames(pages), kept(domains, grant.package), free});
    if (pages == 0) continue;
    const auto more = domains.broker_.lend(id, grant.package, pages);
    grant.extents.insert(grant.extents.end(), more.begin(), more.end());
  }
}

}  // namespace cloister::toolstack
