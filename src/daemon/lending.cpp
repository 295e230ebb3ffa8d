// Frames of EPC on their way to a domain that lives, and back: for paged domains, which share what there is
// (sharing.cpp), and for those whose guests gave some back (balloon.hpp). Each is on a thread of its own, so that no
// domain waits for another:
//
//   lent       the accounts and the record say so, then the VMM gets the frames (epc-lend)
//   taken back the VMM gives frames that are free (epc-give), for which a pager evicts; their memory goes back to the
//              host, then the record and the accounts forget them
//
// So whatever ends in between, the daemon or the VMM, the record has at least what the VMM has. What it has beyond that
// is found by asking (epc-held), and comes back. A VMM that has died takes nothing with it: end() frees all.
#include <algorithm>
#include <future>
#include <system_error>

#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "protocol/epc_frames.hpp"

namespace cloister::toolstack {

namespace {

using hypervisor::FrameSet;

/// The frames of an answer; nullopt: there was none that could be understood.
std::optional<EpcFrames> frames_in(const tl::expected<Packet, ControlError>& reply) {
  if (!reply || !reply->body.contains("frames")) return std::nullopt;
  auto frames = read_frames(reply->body["frames"]);
  return frames ? std::optional(std::move(*frames)) : std::nullopt;
}

/// Once: it is tried again four times a second, and a full disk may stay so.
void say_unkept(Domain& domain, const std::string& error) {
  if (!std::exchange(domain.sharing.unkept, true))
    log(LogLevel::error, "state-not-kept", {{"domain", domain.record.name}, {"error", error}});
}

/// Without these frames.
Grants without(Grants grants, const FrameSet& gone) {
  for (EpcGrant& grant : grants) {
    FrameSet own(grant.extents);
    for (const vmx::EpcSection& row : gone.sections()) {
      for (u64 i = 0; i < row.pages; ++i) {
        if (own.contains(row.first + i)) own.remove(row.first + i);
      }
    }
    grant.extents = own.sections();
  }
  return grants;
}

}  // namespace

bool Domains::may_move(const Domain& domain) const {
  if (!domain.life.is(LifeState::running) || !domain.unread.empty() || !domain.frames_unknown.empty()) return false;
  const DomainRecord& record = domain.record;
  if (domain.page == nullptr || domain.memory == nullptr || record.package.range.empty()) return false;
  std::set<u32> packages;
  for (const EpcGrant& grant : record.grants) packages.insert(grant.package);
  const MachineEpc& accounts = broker_.accounts();
  u64 held = 0;
  for (const u32 package : packages) {
    if (package >= accounts.packages()) return false;
    held += accounts.held(EpcOwner{static_cast<u16>(record.id)}, package);
  }
  return held == pages_of(record.grants);
}

void Domains::transfer(const Pointer& domain, std::function<void()> what) {
  try {
    turns_.transfers.insert_or_assign(domain->record.id, std::async(std::launch::async, std::move(what)));
  } catch (const std::system_error&) {  // no thread: asked again at another time
    domain->sharing.certain = false;
    domain->sharing.asked = 0;
  }
}

bool Domains::lend(const Pointer& domain, std::size_t section, u64 pages) {
  const u32 id = domain->record.id;
  const EpcFrames more = broker_.lend(id, domain->record.grants[section].package, pages);
  if (more.empty()) return false;
  DomainRecord record = domain->record;
  FrameSet frames(record.grants[section].extents);
  for (const vmx::EpcSection& row : more) frames.add(row);
  record.grants[section].extents = frames.sections();
  if (auto kept = around_.records->put(record); !kept) {
    say_unkept(*domain, kept.error());
    broker_.take_back(id, more);
    return false;
  }
  domain->sharing.unkept = false;
  domain->record = std::move(record);
  transfer(domain, [this, domain, section, more, to = domain->record] {
    auto control = connect(to, around_.patience.verb);
    bool lent = control.has_value();
    EpcFrames sorted = more;
    std::ranges::sort(sorted, {}, &vmx::EpcSection::first);
    for (std::size_t i = 0; lent && i < sorted.size(); i += most_epc_rows) {
      const auto rows = std::span(sorted).subspan(i, std::min(most_epc_rows, sorted.size() - i));
      const nlohmann::json request{{"verb", "epc-lend"}, {"section", section}, {"frames", frames_json(rows)}};
      const auto reply = control->request(request, around_.patience.verb);
      if (!reply && reply.error().late) not_answered(to.id, reply.error());
      lent = reply.has_value();
    }
    const MutexLock held(lock_);
    if (!lent) domain->sharing.certain = false;
  });
  return true;
}

/// Of a domain with EPC of several packages the package's frames are asked for; another's have but one package's.
void Domains::take_back(const Pointer& domain, u32 package, u64 pages) {
  domain->sharing.asked = pages;
  domain->sharing.asked_of = package;
  EpcFrames of;
  const Grants& grants = domain->record.grants;
  if (std::ranges::any_of(grants, [&](const EpcGrant& grant) { return grant.package != package; })) {
    for (const MachineSection& section : epc_spec(machine()).sections) {
      if (section.package == package) of.push_back({section.frames.first, section.frames.pages});
    }
    std::ranges::sort(of, {}, &vmx::EpcSection::first);
  }
  transfer(domain, [this, domain, of = std::move(of), pages] { fetch(domain, of, pages); });
}

void Domains::fetch(const Pointer& domain, const EpcFrames& of, u64 pages) {
  DomainRecord record;
  {
    const MutexLock held(lock_);
    record = domain->record;
  }
  EpcFrames given;
  u64 count = 0;
  bool certain = true;
  for (auto control = connect(record, around_.patience.verb); control && count < pages;) {
    nlohmann::json request{{"verb", "epc-give"}, {"pages", std::min(pages - count, most_epc_pages)}};
    if (!of.empty()) request["of"] = frames_json(of);
    const auto reply = control->request(request, around_.patience.verb);
    if (!reply && reply.error().late) not_answered(record.id, reply.error());
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

void Domains::find_lost(const Pointer& domain) {
  transfer(domain, [this, domain] { look_for_lost(domain); });
}

/// What its record has and its VMM has not: of a daemon that died while frames moved, or an answer that did not come.
void Domains::look_for_lost(const Pointer& domain) {
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
    if (!reply && reply.error().late) not_answered(record.id, reply.error());
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
  const auto kept = rows_in_memory(own.sections(), listed);
  bool discarded = true;
  for (const vmx::EpcRow& row : rows_in_memory(back.sections(), listed))
    discarded = silicon().discard_epc(*memory, row, kept) && discarded;
  const MutexLock held(lock_);
  if (foreign != 0)
    log(LogLevel::error, "epc-foreign", {{"domain", domain->record.name}, {"pages", std::to_string(foreign)}});
  if (domain->life.over()) return;
  DomainRecord record = domain->record;
  record.grants = without(std::move(record.grants), back);
  if (auto forgotten = discarded ? around_.records->put(record)
                                 : tl::expected<void, std::string>(tl::unexpect, "its EPC's memory stays");
      !forgotten) {
    say_unkept(*domain, forgotten.error());
    domain->sharing.certain = false;
    return;
  }
  domain->sharing.unkept = false;
  domain->record = std::move(record);
  broker_.take_back(id, back.sections());
  changed_.notify_all();
}

}  // namespace cloister::toolstack
