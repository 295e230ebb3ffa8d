// Who is to have which EPC while domains run. Four times a second what guests gave back comes home, and who lacks what
// it gave gets as much (balloon.hpp); then the frames of each package are shared anew by the domains that see more than
// they have (epc_min, machine/epc/balance.hpp). How frames move is lending.cpp's.
//
// It looks, and is not told: what a share follows from are rates of faults and pages of late, which are there only as
// time goes by; and of the memory that a file takes nobody tells (fstat(2)). A look is two fstat(2) and some loads for
// each domain, and there is none while no domain has EPC.
#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <future>
#include <utility>

#include "arch/sizes.hpp"
#include "daemon/balloon.hpp"
#include "daemon/domains.hpp"
#include "daemon/version_frames.hpp"
#include "host/log.hpp"
#include "host/pidfd.hpp"

namespace cloister::toolstack {

namespace {

using SharingClock = EpcBalance::Clock;

/// Each costs a write to disk under the lock.
constexpr unsigned most_moves = 8;
/// Chunks, of one move.
constexpr u64 longest_move = 4;

/// What a paged domain sees, always has and has now of a package, in pages.
struct PartOfEpc {
  u64 sees = 0, min = 0, has = 0;
  std::size_t section = 0;  ///< one that is of it
};

PartOfEpc part_of(const Grants& grants, const DomainConfig& config, u32 package) {
  PartOfEpc part;
  const std::vector<EpcSection> frames = config.epc_frames();
  for (std::size_t i = 0; i < std::min(grants.size(), frames.size()); ++i) {
    if (grants[i].package != package) continue;
    part.section = i;
    part.sees += config.epc[i].mib * arch::pages_per_mib;
    part.min += frames[i].mib * arch::pages_per_mib;
    for (const EpcExtent& extent : grants[i].extents) part.has += extent.pages;
  }
  return part;
}

}  // namespace

/// Its pager can have other frames than it began with, and what it has is known.
bool Domains::may_share(const Domain& domain) const {
  return domain.config.epc_is_paged() && may_move(domain) && domain.page->epc() != nullptr;
}

bool Domains::share() {
  std::erase_if(turns_.transfers, [](const auto& one) {
    return one.second.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  const bool any = std::ranges::any_of(
      table_, [this](const auto& entry) CLOISTER_REQUIRES(lock_) { return may_move(*entry.second); });
  if (!any || stopping_) return false;
  const auto now = SharingClock::now();
  if (now < turns_.next) return true;
  turns_.next = now + around_.patience.share;
  end_beyond();
  const auto lacking = settle_balloons();
  // One move at a time is a domain's: of those with several packages none is always the first.
  const u32 packages = broker_.accounts().packages(), first = turns_.first++;
  for (u32 i = 0; i < packages; ++i) share((first + i) % packages, now, lacking[(first + i) % packages]);
  return true;
}

/// The record has at least what the VMM may use, also while frames move. One look may be of memory that was written in
/// an operation that had begun before the frame went.
void Domains::end_beyond() {
  for (const auto& [id, domain] : table_) {
    if (!may_move(*domain)) continue;
    const u64 bytes =
        silicon().epc_beyond(*domain->memory, rows_in_memory(broker_.frames_of(id), domain->record.package.range));
    if (!std::exchange(domain->sharing.beyond, bytes != 0) || bytes == 0 || !domain->fate.empty()) continue;
    log(LogLevel::error, "epc-beyond", {{"domain", domain->record.name}, {"bytes", std::to_string(bytes)}});
    if (!domain->life.held()) continue;
    domain->fate = "epc-beyond";
    ++ended_beyond_;
    ::pidfd_send_signal(domain->process.get(), SIGKILL, nullptr, 0);
  }
}

std::vector<u64> Domains::settle_balloons() {
  std::vector<u64> lacking(broker_.accounts().packages());
  unsigned moved = 0;
  for (const auto& [id, domain] : table_) {
    const auto balloon = may_move(*domain) ? balloon_of(*domain) : std::nullopt;
    if (!balloon || balloon->sections.empty()) continue;
    if (!turns_.transfers.contains(id) && moved != most_moves && settle(domain, *balloon)) ++moved;
    const auto now = balloon_of(*domain);
    for (std::size_t i = 0; i < now->sections.size(); ++i)
      lacking[domain->record.grants[i].package] += now->sections[i].lacks;
  }
  return lacking;
}

/// False: nothing moves.
bool Domains::settle(const Pointer& domain, const Balloon& balloon) {
  if (!domain->sharing.certain) {
    find_lost(domain);
    return true;
  }
  for (std::size_t i = 0; i < balloon.sections.size(); ++i) {
    const u64 spare = balloon.sections[i].spare;
    if (spare == 0 || VersionFrames::needs(*domain)) continue;
    take_back(domain, domain->record.grants[i].package, std::min(spare, longest_move * chunk()));
    return true;
  }
  for (std::size_t i = 0; i < balloon.sections.size(); ++i) {
    const u32 package = domain->record.grants[i].package;
    const u64 free = broker_.accounts().count(package).free;
    const u64 claimed = turns_.claims[package] + VersionFrames::kept(*this, package);
    const u64 some = std::min({balloon.sections[i].lacks, free > claimed ? free - claimed : 0, longest_move * chunk()});
    if (some != 0 && lend(domain, i, some)) return true;
  }
  return false;
}

void Domains::share(u32 package, SharingClock::time_point now, u64 lacking) {
  std::vector<EpcSharer> sharers;
  std::vector<Pointer> domains;
  std::vector<std::size_t> sections;  // of the domains, each one of the package
  const u64 free = broker_.accounts().count(package).free;
  const u64 claimed = turns_.claims[package] + lacking + VersionFrames::kept(*this, package);
  u64 frames = free, coming = 0;
  for (const auto& [id, domain] : table_) {
    if (domain->sharing.asked_of == package) coming += domain->sharing.asked;
    if (!may_share(*domain)) continue;
    const PartOfEpc part = part_of(domain->record.grants, domain->config, package);
    if (part.sees == 0) continue;
    const hypervisor::PagerCounts& counts = *domain->page->epc();
    // Any page may be on any frame: of those of each package as many are used.
    const u64 held = pages_of(domain->record.grants), active = std::min<u64>(counts.active, held);
    sharers.push_back({.id = id,
                       .min = part.min,
                       .most = part.sees,
                       .held = part.has,
                       .active = held == 0 ? 0 : active * part.has / held,
                       .weight = domain->config.epc_weight,
                       .faults = counts.loads + counts.shortages});
    domains.push_back(domain);
    sections.push_back(part.section);
    frames += part.has;
  }
  const auto decision = turns_.balances.try_emplace(package, chunk())
                            .first->second.tick(now, frames > claimed ? frames - claimed : 0, sharers);
  if (decision.thrash)
    log(LogLevel::warning, "epc-thrash",
        {{"package", std::to_string(package)}, {"domains", std::to_string(sharers.size())}});
  for (std::size_t i = 0; i < domains.size(); ++i) domains[i]->sharing.targets[package] = decision.targets[i];

  const auto moves = epc_moves(free, claimed, coming, sharers, decision, chunk());
  unsigned moved = 0;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    const Pointer& domain = domains[i];
    if (turns_.transfers.contains(domain->record.id) || moved == most_moves) continue;
    if (!domain->sharing.certain) {
      find_lost(domain);
    } else if (moves[i].lend != 0) {
      lend(domain, sections[i], std::min(moves[i].lend, longest_move * chunk()));
    } else if (moves[i].take != 0) {
      take_back(domain, package, std::min(moves[i].take, longest_move * chunk()));
    } else {
      continue;
    }
    ++moved;
  }
}

void Domains::share_soon() {
  turns_.next = {};
  ::eventfd_write(wake_.get(), 1);
}

Domains::Result Domains::change_epc(const std::string& key, const EpcChange& change) {
  const MutexLock held(lock_);
  const Pointer domain = lookup(key);
  if (domain == nullptr) return tl::unexpected(absent(key));
  if (const auto no = not_now(*domain)) return tl::unexpected(*no);
  const std::string name = "'" + domain->record.name + "'";
  DomainConfig config = domain->config;
  if (!may_share(*domain)) {
    const char* const why = !config.epc_is_paged() ? ": its EPC is not paged: it has all that it sees"
                                                   : ": it cannot be told at the moment what EPC it has";
    return tl::unexpected(ApiError{409, name + why});
  }
  const auto wrong = [](std::string what) { return tl::unexpected(ApiError{400, std::move(what)}); };
  if (change.min_mib) {
    const u64 least = config.least_epc_min_mib();
    if (*change.min_mib < least || *change.min_mib >= config.epc_mib())
      return wrong("'min_mib': found " + std::to_string(*change.min_mib) + ", expected at least " +
                   std::to_string(least) + " and less than its 'epc', which is " + std::to_string(config.epc_mib()));
    config.epc_min_mib = *change.min_mib;
    // What others have as their minimum is theirs.
    const Grants& grants = domain->record.grants;
    for (const u32 package : packages_of(grants)) {
      const PartOfEpc own = part_of(grants, domain->config, package);
      const u64 wants = part_of(grants, config, package).min, free = room(package),
                could_have = free - std::min(free, turns_.claims[package]) + std::min(own.has, own.min);
      if (wants <= own.min || wants <= could_have) continue;
      const EpcCount all = broker_.accounts().count(package);
      const u64 reserve = machine().epc_in_reserve_mib() * arch::pages_per_mib;
      const u64 taken = std::min(all.total, all.withdrawn + reserve + could_have);
      std::string text = fmt::format(
          "{}: 'min_mib': found {}; of package {}, which has {}, it can have {}: {} are others'", name, *change.min_mib,
          package, size_text(all.total - all.withdrawn), size_text(could_have), size_text(all.total - taken));
      if (reserve != 0) text += fmt::format(", {} are in reserve", size_text(reserve));
      return tl::unexpected(ApiError{507, std::move(text)});
    }
  }
  if (change.weight) {
    if (*change.weight < 1 || *change.weight > limits::heaviest_epc)
      return wrong("'weight': found " + std::to_string(*change.weight) + ", expected 1 to " +
                   std::to_string(limits::heaviest_epc));
    config.epc_weight = *change.weight;
  }
  DomainRecord record = domain->record;
  record.epc_min_mib = config.epc_min_mib;
  record.epc_weight = config.epc_weight;
  if (auto kept = around_.records->put(record); !kept) return tl::unexpected(ApiError{500, kept.error()});
  domain->record = std::move(record);
  domain->config = std::move(config);
  log(LogLevel::info, "domain-epc-set",
      {{"domain", domain->record.name},
       {"epc_min", std::to_string(domain->config.epc_min_mib)},
       {"epc_weight", std::to_string(domain->config.epc_weight)}});
  share_soon();
  return info(*domain);
}

class Domains::Claim {
 public:
  Claim(Domains& domains, std::map<u32, u64> wanted) : pages(std::move(wanted)), domains_(domains) {}
  ~Claim() {
    const MutexLock held(domains_.lock_);
    domains_.end(*this);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  std::map<u32, u64> pages;  ///< by package; none: it has ended

 private:
  Domains& domains_;
};

void Domains::end(Claim& claim) {
  for (const auto& [package, pages] : claim.pages) turns_.claims[package] -= pages;
  claim.pages.clear();
}

u64 Domains::room(u32 package) const {
  i64 pages =
      static_cast<i64>(broker_.accounts().count(package).free) -
      static_cast<i64>(machine().overcommit.reserve_mib * arch::pages_per_mib + VersionFrames::kept(*this, package));
  for (const auto& [id, domain] : table_) {
    if (const auto balloon = may_move(*domain) ? balloon_of(*domain) : std::nullopt) {
      for (std::size_t i = 0; i < balloon->sections.size(); ++i) {
        const u64 spare = balloon->sections[i].spare;
        if (domain->record.grants[i].package == package)
          pages += static_cast<i64>(spare - std::min(spare, VersionFrames::beyond_pages(*domain, i)));
      }
    }
    if (!may_share(*domain)) continue;
    const PartOfEpc part = part_of(domain->record.grants, domain->config, package);
    pages += static_cast<i64>(part.has) - static_cast<i64>(part.min);
  }
  return static_cast<u64>(std::max<i64>(pages, 0));
}

u64 Domains::seen_of(u32 package) const {
  u64 mib = 0;
  for (const auto& [id, domain] : table_) {
    const Grants& grants = domain->record.grants;
    for (std::size_t i = 0; i < grants.size(); ++i) {
      if (grants[i].package == package && i < domain->config.epc.size()) mib += domain->config.epc[i].mib;
    }
  }
  return mib;
}

KeptFree Domains::kept_from(const DomainConfig& config) const {
  KeptFree kept;
  const EpcOvercommit& overcommit = machine().overcommit;
  for (u32 package = 0; package < broker_.accounts().packages(); ++package) {
    const EpcCount count = broker_.accounts().count(package);
    const u64 may_have = std::min(count.free, room(package));
    kept.pages.push_back(count.free - may_have);
    // Those that share have more or less than they are sure of, so that what is free is not what can be had.
    if (const u64 could_have = room(package); could_have != count.free) {
      kept.why += fmt::format("; of package {} {} can be had beside what domains keep", package, size_text(could_have));
      if (const u64 reserve = machine().epc_in_reserve_mib(); reserve != 0)
        kept.why += fmt::format(" and a reserve of {} MiB", reserve);
    }
    u64 sees = seen_of(package);
    for (const EpcSection& section : config.epc) sees += section.package.value_or(package) == package ? section.mib : 0;
    if (!overcommit.ratio || static_cast<double>(sees * arch::pages_per_mib) <=
                                 *overcommit.ratio * static_cast<double>(count.total - count.withdrawn))
      continue;
    kept.pages.back() = count.free;
    kept.why += fmt::format("; of package {} domains would see {} MiB, which is more than {} times the {} that it has",
                            package, sees, *overcommit.ratio, size_text(count.total - count.withdrawn));
  }
  return kept;
}

std::shared_ptr<Domains::Claim> Domains::make_room(const DomainConfig& config) {
  const MutexLock held(lock_);
  std::map<u32, u64> wanted;
  std::optional<u32> named;
  u64 anywhere = 0;
  for (const EpcSection& section : config.epc_frames()) {
    const u64 pages = section.mib * arch::pages_per_mib;
    if (section.package) named = section.package;
    (section.package ? wanted[*section.package] : anywhere) += pages;
  }
  const u32 packages = broker_.accounts().packages();
  const auto free = [this](u32 package) CLOISTER_REQUIRES(lock_) { return broker_.accounts().count(package).free; };
  if (anywhere != 0) {
    u32 best = named.value_or(0);
    for (u32 package = 0; package < packages && !named; ++package) {
      if (std::min(free(package), room(package)) >= anywhere + turns_.claims[package]) return nullptr;
      if (room(package) > room(best)) best = package;
    }
    wanted[best] += anywhere;
  }
  for (const auto& [package, pages] : wanted) {
    if (package >= packages || room(package) < pages + turns_.claims[package])
      return nullptr;  // refused, with the reasons
  }
  for (const auto& [package, pages] : wanted) turns_.claims[package] += pages;
  auto claim = std::make_shared<Claim>(*this, wanted);
  const auto there = [&]() CLOISTER_REQUIRES(lock_) {
    return stopping_ || std::ranges::all_of(wanted, [&](const auto& one) CLOISTER_REQUIRES(lock_) {
             return free(one.first) >= turns_.claims[one.first];
           });
  };
  if (!there()) {
    share_soon();
    changed_.wait_for(lock_, around_.patience.room, there);
  }
  return claim;
}

}  // namespace cloister::toolstack
