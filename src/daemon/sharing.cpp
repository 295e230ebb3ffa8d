// EPC that moves between domains that see more than they have (epc_min). Four times a second each package's frames are
// shared anew (machine/epc/balance.hpp), and what is to move moves on threads of its own, so that no domain waits for
// another:
//
//   lent       the accounts and the record say so, then the VMM's pager gets the frames (epc-lend)
//   taken back the pager evicts and gives frames (epc-give), their memory goes back to the host, then the record and
//              the accounts forget them
//
// So whatever ends in between, the daemon or the VMM, the record has at least what the pager has. What it has beyond
// that is found by asking (epc-held), and comes back. A VMM that has died takes nothing with it: end() frees all.
#include <sys/eventfd.h>

#include <algorithm>
#include <future>
#include <system_error>

#include "arch/sizes.hpp"
#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "protocol/epc_frames.hpp"

namespace cloister::toolstack {

namespace {

using hypervisor::FrameSet;
using SharingClock = EpcBalance::Clock;

/// Each costs a write to disk under the lock.
constexpr unsigned most_moves = 8;

/// In a domain's memory, whose pages lie in the order of the Package's sections.
std::vector<vmx::EpcRow> rows_of(const std::vector<vmx::EpcSection>& frames,
                                 const std::vector<vmx::EpcSection>& listed) {
  std::vector<vmx::EpcRow> rows;
  u64 before = 0;
  for (const vmx::EpcSection& section : listed) {
    for (const vmx::EpcSection& row : frames) {
      const u64 first = std::max(row.first.value, section.first.value);
      const u64 end = std::min(row.first.value + row.pages, section.first.value + section.pages);
      if (first < end) rows.push_back({before + first - section.first.value, end - first});
    }
    before += section.pages;
  }
  std::ranges::sort(rows, {}, &vmx::EpcRow::first);
  return rows;
}

/// The frames of an answer; nullopt: there was none that could be understood.
std::optional<EpcFrames> frames_in(const tl::expected<Packet, ControlError>& reply) {
  if (!reply || !reply->body.contains("frames")) return std::nullopt;
  auto frames = read_frames(reply->body["frames"]);
  return frames ? std::optional(std::move(*frames)) : std::nullopt;
}

}  // namespace

/// Its pager can have other frames than it began with, and what it has is known.
bool Domains::may_share(const Domain& domain) const {
  if (!domain.life.is(LifeState::running) || !domain.unread.empty() || !domain.frames_unknown.empty()) return false;
  if (domain.page == nullptr || domain.page->epc() == nullptr || domain.memory == nullptr) return false;
  const DomainRecord& record = domain.record;
  if (record.grants.size() != 1 || record.package.range.empty()) return false;
  const u32 package = record.grants.front().package;
  return package < broker_.accounts().packages() &&
         broker_.accounts().held(EpcOwner{static_cast<u16>(record.id)}, package) == pages_of(record.grants);
}

bool Domains::share() {
  std::erase_if(transfers_, [](const auto& one) {
    return one.second.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  const bool any = std::ranges::any_of(
      table_, [this](const auto& entry) CLOISTER_REQUIRES(lock_) { return may_share(*entry.second); });
  if (!any || stopping_) return false;
  const auto now = SharingClock::now();
  if (now < next_share_) return true;
  next_share_ = now + around_.patience.share;
  for (u32 package = 0; package < broker_.accounts().packages(); ++package) share(package, now);
  return true;
}

void Domains::share(u32 package, SharingClock::time_point now) {
  std::vector<EpcSharer> sharers;
  std::vector<Pointer> domains;
  const u64 free = broker_.accounts().count(package).free, claimed = claims_[package];
  u64 frames = free, coming = 0;
  for (const auto& [id, domain] : table_) {
    if (!may_share(*domain) || domain->record.grants.front().package != package) continue;
    const hypervisor::PagerCounts& counts = *domain->page->epc();
    const u64 held = pages_of(domain->record.grants);
    sharers.push_back({.id = id,
                       .min = domain->config.epc_min_mib * arch::pages_per_mib,
                       .most = domain->config.epc_mib() * arch::pages_per_mib,
                       .held = held,
                       .active = std::min<u64>(counts.active, held),
                       .weight = domain->config.epc_weight,
                       .faults = counts.loads + counts.shortages});
    domains.push_back(domain);
    frames += held;
    coming += domain->sharing.asked;
  }
  const auto decision = balances_[package].tick(now, frames > claimed ? frames - claimed : 0, sharers);
  if (decision.thrash)
    log(LogLevel::warning, "epc-thrash",
        {{"package", std::to_string(package)}, {"domains", std::to_string(sharers.size())}});
  for (std::size_t i = 0; i < domains.size(); ++i) domains[i]->sharing.target = decision.targets[i];

  const auto moves = epc_moves(free, claimed, coming, sharers, decision);
  unsigned moved = 0;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    const Pointer& domain = domains[i];
    if (transfers_.contains(domain->record.id) || moved == most_moves) continue;
    if (!domain->sharing.certain) {
      transfer(domain, [this, domain] { find_lost(domain); });
    } else if (moves[i].lend != 0) {
      lend(domain, std::min(moves[i].lend, 4 * epc_chunk));
    } else if (moves[i].take != 0) {
      const u64 pages = std::min(moves[i].take, 4 * epc_chunk);
      domain->sharing.asked = pages;
      transfer(domain, [this, domain, pages] { take_back(domain, pages); });
    } else {
      continue;
    }
    ++moved;
  }
}

void Domains::transfer(const Pointer& domain, std::function<void()> what) {
  try {
    transfers_.insert_or_assign(domain->record.id, std::async(std::launch::async, std::move(what)));
  } catch (const std::system_error&) {  // no thread: asked again at another time
    domain->sharing.certain = false;
    domain->sharing.asked = 0;
  }
}

void Domains::lend(const Pointer& domain, u64 pages) {
  const u32 id = domain->record.id;
  const EpcFrames more = broker_.lend(id, domain->record.grants.front().package, pages);
  if (more.empty()) return;
  DomainRecord record = domain->record;
  record.grants.front().extents = broker_.frames_of(id);
  if (auto kept = around_.records->put(record); !kept) {
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", kept.error()}});
    return broker_.take_back(id, more);
  }
  domain->record = std::move(record);
  transfer(domain, [this, domain, more, to = domain->record] {
    auto control = connect(to, around_.patience.verb);
    bool lent = control.has_value();
    EpcFrames frames = more;
    std::ranges::sort(frames, {}, &vmx::EpcSection::first);
    for (std::size_t i = 0; lent && i < frames.size(); i += most_epc_rows) {
      const auto rows = std::span(frames).subspan(i, std::min(most_epc_rows, frames.size() - i));
      lent = control->request({{"verb", "epc-lend"}, {"frames", frames_json(rows)}}, around_.patience.verb).has_value();
    }
    const MutexLock held(lock_);
    if (!lent) domain->sharing.certain = false;
  });
}

void Domains::take_back(const Pointer& domain, u64 pages) {
  DomainRecord record;
  {
    const MutexLock held(lock_);
    record = domain->record;
  }
  EpcFrames given;
  u64 count = 0;
  bool certain = true;
  for (auto control = connect(record, around_.patience.verb); control && count < pages;) {
    const auto reply = control->request({{"verb", "epc-give"}, {"pages", std::min(pages - count, most_epc_pages)}},
                                        around_.patience.verb);
    const auto frames = frames_in(reply);
    if (!frames && !(!reply && reply.error().answered)) certain = false;
    if (!frames || frames->empty()) break;
    for (const vmx::EpcSection& row : *frames) count += row.pages;
    given.insert(given.end(), frames->begin(), frames->end());
  }
  returned(domain, given);
  const MutexLock held(lock_);
  domain->sharing.asked = 0;
  if (!certain) domain->sharing.certain = false;
}

/// What its record has and its pager has not: of a daemon that died while frames moved, or an answer that did not come.
void Domains::find_lost(const Pointer& domain) {
  DomainRecord record;
  {
    const MutexLock held(lock_);
    record = domain->record;
  }
  auto control = connect(record, around_.patience.verb);
  if (!control) return;
  FrameSet lost(sections_of(record.grants));
  for (u64 from = 0; true;) {
    const auto reply = control->request({{"verb", "epc-held"}, {"from", from}}, around_.patience.verb);
    const auto frames = frames_in(reply);
    if (!frames) return;
    for (const vmx::EpcSection& row : *frames) {
      for (u64 i = 0; i < row.pages; ++i) {
        if (lost.contains(row.first + i)) lost.remove(row.first + i);
      }
      from = row.first.value + row.pages;
    }
    if (!reply->body.value("more", false)) break;
    if (frames->empty()) return;
  }
  if (lost.pages() != 0)
    log(LogLevel::info, "epc-found", {{"domain", record.name}, {"pages", std::to_string(lost.pages())}});
  {
    const MutexLock held(lock_);
    domain->sharing.certain = true;
  }
  returned(domain, lost.sections());
}

/// A VMM that was taken over may name any frames: those of others stay theirs.
void Domains::returned(const Pointer& domain, const std::vector<vmx::EpcSection>& frames) {
  if (frames.empty()) return;
  const u32 id = domain->record.id;
  FrameSet own, back;
  vmx::EpcMemory::Pointer memory;
  std::vector<vmx::EpcSection> listed;
  {
    const MutexLock held(lock_);
    if (domain->life.over()) return;
    own = FrameSet(broker_.frames_of(id));
    memory = domain->memory;
    listed = domain->record.package.range;
  }
  u64 foreign = 0;
  for (const vmx::EpcSection& row : frames) {
    for (u64 i = 0; i < row.pages; ++i) {
      if (!own.contains(row.first + i)) {
        ++foreign;
        continue;
      }
      own.remove(row.first + i);
      back.add({row.first + i, 1});
    }
  }
  const auto kept = rows_of(own.sections(), listed);
  bool discarded = true;
  for (const vmx::EpcRow& row : rows_of(back.sections(), listed))
    discarded = silicon().discard_epc(*memory, row, kept) && discarded;
  const MutexLock held(lock_);
  if (foreign != 0)
    log(LogLevel::error, "epc-foreign", {{"domain", domain->record.name}, {"pages", std::to_string(foreign)}});
  if (domain->life.over()) return;
  DomainRecord record = domain->record;
  record.grants.front().extents = own.sections();
  if (auto forgotten = discarded ? around_.records->put(record)
                                 : tl::expected<void, std::string>(tl::unexpect, "its EPC's memory stays");
      !forgotten) {
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", forgotten.error()}});
    domain->sharing.certain = false;
    return;
  }
  domain->record = std::move(record);
  broker_.take_back(id, back.sections());
  changed_.notify_all();
}

Domains::Result Domains::change_epc(const std::string& key, const EpcChange& change) {
  const MutexLock held(lock_);
  const Pointer domain = lookup(key);
  if (domain == nullptr) return tl::unexpected(absent(key));
  if (const auto no = not_now(*domain)) return tl::unexpected(*no);
  const std::string name = "'" + domain->record.name + "'";
  DomainConfig config = domain->config;
  if (!may_share(*domain)) {
    const char* const why = config.epc_is_paged() ? ": it cannot be told at the moment what EPC it has"
                                                  : ": its EPC is not paged: it has all that it sees";
    return tl::unexpected(ApiError{409, name + why});
  }
  const auto wrong = [](std::string what) { return tl::unexpected(ApiError{400, std::move(what)}); };
  if (change.min_mib) {
    const u64 least = config.least_epc_min_mib();
    if (*change.min_mib < least || *change.min_mib >= config.epc_mib())
      return wrong("'min_mib': found " + std::to_string(*change.min_mib) + ", expected at least " +
                   std::to_string(least) + " and less than its 'epc', which is " + std::to_string(config.epc_mib()));
    // What others have as their minimum is theirs.
    const u64 has = pages_of(domain->record.grants), wants = *change.min_mib * arch::pages_per_mib;
    const u32 package = domain->record.grants.front().package;
    const u64 left = room(package), own = config.epc_min_mib * arch::pages_per_mib;
    const u64 could_have = left + std::min(has, own);
    if (wants > could_have)
      return tl::unexpected(ApiError{507, name + ": 'min_mib': found " + std::to_string(*change.min_mib) +
                                              ", and others have all but " + size_text(could_have) + " of package " +
                                              std::to_string(package) + " as their minimum"});
    config.epc_min_mib = *change.min_mib;
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
  next_share_ = {};
  ::eventfd_write(wake_.get(), 1);
  return info(*domain);
}

class Domains::Claim {
 public:
  Claim(Domains& domains, std::map<u32, u64> pages) : domains_(domains), pages_(std::move(pages)) {}
  ~Claim() {
    const MutexLock held(domains_.lock_);
    for (const auto& [package, pages] : pages_) domains_.claims_[package] -= pages;
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  Domains& domains_;
  const std::map<u32, u64> pages_;
};

u64 Domains::room(u32 package) const {
  i64 pages = static_cast<i64>(broker_.accounts().count(package).free);
  for (const auto& [id, domain] : table_) {
    if (!may_share(*domain) || domain->record.grants.front().package != package) continue;
    pages += static_cast<i64>(pages_of(domain->record.grants)) -
             static_cast<i64>(domain->config.epc_min_mib * arch::pages_per_mib);
  }
  return static_cast<u64>(std::max<i64>(pages, 0));
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
      if (free(package) >= anywhere + claims_[package]) return nullptr;
      if (room(package) > room(best)) best = package;
    }
    wanted[best] += anywhere;
  }
  for (const auto& [package, pages] : wanted) {
    if (package >= packages || room(package) < pages + claims_[package]) return nullptr;  // refused, with the reasons
  }
  for (const auto& [package, pages] : wanted) claims_[package] += pages;
  auto claim = std::make_shared<Claim>(*this, wanted);
  const auto there = [&]() CLOISTER_REQUIRES(lock_) {
    return stopping_ || std::ranges::all_of(wanted, [&](const auto& one) CLOISTER_REQUIRES(lock_) {
             return free(one.first) >= claims_[one.first];
           });
  };
  if (!there()) {
    next_share_ = {};
    ::eventfd_write(wake_.get(), 1);
    changed_.wait_for(lock_, around_.patience.room, there);
  }
  return claim;
}

}  // namespace cloister::toolstack
