// Eviction, a batch at a time: the pages are unmapped, the gate is closed, each is blocked and its enclave tracked, the
// gate opens, and EWB writes them out while the guest runs (SDM vol. 3D, 37.5.3). With the gate closed no thread is
// inside, so that a cycle of tracking is complete as it begins, and no guest's instruction ever sees one of the
// pager's.
//
// EBLOCK cannot be undone in place. So all that may fail - a slot, memory for the image - is had before it.
#include <algorithm>

#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using arch::SgxError;

constexpr u64 slots_in_reserve = 64;
constexpr u64 looked_at_once = 64;

}  // namespace

/// CLOCK (Corbató): a page that was used since the hand came by has another round. SECSs that were found to have
/// children are passed over in the first two rounds, for they would only be found so again.
std::vector<EpcPage> Pager::choose(std::size_t most, Frames on, std::span<const vmx::EpcSection> of) {
  std::vector<EpcPage> victims;
  const u64 pages = book_.pages();
  const u64 blocks = (pages + looked_at_once - 1) / looked_at_once;
  for (u64 looked = 0; looked < 3 * blocks && victims.size() < most; ++looked) {
    const u64 first = hand_ / looked_at_once * looked_at_once, last = std::min(first + looked_at_once, pages);
    hand_ = last == pages ? 0 : last;
    if (book_.find(EpcPage{first}) == nullptr) continue;
    const unsigned round = static_cast<unsigned>(looked / blocks);
    for (u64 number = first; number < last; ++number) {
      const EpcPage page{number};
      PageRecord& record = book_[page];
      if (record.state != PageRecord::State::resident || record.pins != 0) continue;
      if ((on == Frames::lent && free_.is_own(record.frame)) || !lies_in(of, record.frame)) continue;
      if (std::ranges::find(victims, page) != victims.end()) continue;  // in an earlier round
      const bool used = memory_.take_accessed(book_.address_of(page), 1).front() || record.recent;
      mark(record, false);
      if ((used && round == 0) || (record.kept && round < 2)) continue;
      victims.push_back(page);
      if (victims.size() == most) break;
    }
  }
  return victims;
}

void Pager::look() {
  const MutexLock held(lock_);
  const u64 pages = book_.pages(), quarter = pages / 4 + looked_at_once;
  for (u64 seen = 0; seen < quarter && seen < pages; seen += looked_at_once) {
    const u64 first = eye_, last = std::min(first + looked_at_once, pages);
    eye_ = last == pages ? 0 : last;
    if (book_.find(EpcPage{first}) == nullptr) continue;
    for (u64 number = first; number < last; ++number) {
      PageRecord& record = book_[EpcPage{number}];
      if (record.state == PageRecord::State::resident)
        mark(record, memory_.take_accessed(book_.address_of(EpcPage{number}), 1).front());
    }
  }
}

void Pager::mark(PageRecord& record, bool recent) {
  if (record.recent == recent) return;
  record.recent = recent;
  recent ? ++counts_.active : --counts_.active;
}

bool Pager::evict(arch::Gpa address) {
  const auto page = book_.page_at(address);
  if (!page) return false;
  const MutexLock held(lock_);
  PageRecord& record = book_[*page];
  changed_.wait(lock_, [&]() { return record.state != PageRecord::State::busy; });
  if (moving_ || record.state != PageRecord::State::resident || record.pins != 0) return false;
  ++busy_;
  const bool gone = evict(std::span(&*page, 1)) == 1;
  --busy_;
  changed_.notify_all();
  return gone;
}

std::size_t Pager::evict(std::span<const EpcPage> pages) {
  if (pages.empty()) return 0;
  std::vector<Victim> victims;
  for (const EpcPage page : pages) {
    if (!has_version_slot()) break;
    PageRecord& record = book_[page];
    record.state = PageRecord::State::busy;
    memory_.unmap_epc(book_.address_of(page));
    victims.push_back({.page = page, .frame = record.frame, .slot = versions_.take(), .image = backing_.take()});
  }
  ++evicting_;
  {
    const MutexUnlock apart(lock_);
    {
      const auto closing = std::chrono::steady_clock::now();
      {
        const ClosedGate closed(gate_);
        block(victims);
      }
      ++counts_.gates;
      counts_.gate_ns += nanoseconds_since(closing);
    }
    for (Victim& victim : victims) write_out(victim);
  }
  --evicting_;
  std::size_t gained = 0;
  for (const Victim& victim : victims) {
    account(victim);
    if (victim.fate == Victim::Fate::free || victim.fate == Victim::Fate::goes) ++gained;
  }
  tend_versions();
  return gained;
}

/// With the gate closed.
void Pager::block(std::span<Victim> victims) {
  std::vector<arch::Mfn> owners;
  for (Victim& victim : victims) {
    mode_ == PagingMode::oss ? identify(victim, victims) : identify_by_book(victim, victims);
    if (victim.fate != Victim::Fate::goes || victim.kind == PageRecord::Kind::va) continue;
    if (victim.kind == PageRecord::Kind::child) {
      const vmx::EnclsResult blocked = encls(EnclsLeaf::eblock, {.page = victim.frame});
      victim.guest_blocked = is(blocked, SgxError::blkstate);
      if (!done(blocked) && !victim.guest_blocked) {
        victim.fate = Victim::Fate::stays;
        continue;
      }
      if (std::ranges::find(owners, victim.secs_frame) == owners.end()) owners.push_back(victim.secs_frame);
    }
  }
  for (const arch::Mfn owner : owners) encls(EnclsLeaf::etrack, {.page = owner});
  for (const Victim& victim : victims) {
    if (victim.fate == Victim::Fate::goes && victim.kind == PageRecord::Kind::child) count_child_out(victim);
  }
}

/// Before it goes: at no time has the SECS fewer children, here and out, than the guest gave it.
void Pager::count_child_out(const Victim& victim) {
  if (mode_ == PagingMode::oss) {
    enclv(EnclvLeaf::eincvirtchild, {.page = victim.secs_frame, .child = victim.frame});
    return;
  }
  const MutexLock held(lock_);
  ++book_[victim.secs].children_out;
}

void Pager::identify(Victim& victim, std::span<const Victim> all) {
  alignas(32) arch::Rdinfo info{};
  const vmx::EnclsResult found = encls(EnclsLeaf::erdinfo, {.page = victim.frame, .rdinfo = &info});
  if (is(found, SgxError::pg_invld)) {
    victim.fate = Victim::Fate::free;
    return;
  }
  if (!done(found)) return;
  switch (arch::Secinfo{.flags = info.flags, .reserved = {}}.type()) {
    case arch::PageType::va: victim.kind = PageRecord::Kind::va; break;
    case arch::PageType::secs:
      victim.kind = PageRecord::Kind::secs;
      if ((info.status & arch::rdinfo::child_present) != 0) return;
      break;
    default: {
      const MutexLock held(lock_);
      const auto secs = book_.page_at(arch::Gpa{info.enclavecontext});
      if (!secs || !find_owner(victim, *secs, all)) return;
    }
  }
  if (victim.image) victim.fate = Victim::Fate::goes;
}

/// False: it is not there to be tracked, as somebody else evicts or loads it.
bool Pager::find_owner(Victim& victim, EpcPage secs, std::span<const Victim> all) {
  const PageRecord* const owner = book_.find(secs);
  // A SECS that is to be evicted together with a child of its stays, or goes after it.
  const bool beside = std::ranges::find(all, secs, &Victim::page) != all.end();
  if (owner == nullptr || (owner->state != PageRecord::State::resident && !beside)) return false;
  victim.secs = secs;
  victim.secs_frame = owner->frame;
  return true;
}

void Pager::write_out(Victim& victim) {
  if (victim.fate != Victim::Fate::goes) return;
  vmx::VersionSlot version{};
  {
    const MutexLock held(lock_);
    version = versions_.place_of(victim.slot);
  }
  vmx::PageinfoOperand pageinfo{.linaddr = 0,
                                .source = backing_.page(*victim.image),
                                .secinfo = backing_.pcmd(*victim.image),
                                .secs = std::nullopt};
  const vmx::EnclsResult written =
      encls(EnclsLeaf::ewb, {.page = victim.frame, .pageinfo = &pageinfo, .version = version});
  victim.linaddr = pageinfo.linaddr;
  if (written_out(written)) return;
  // Nobody has told that a SECS has children before it is to go (PagingMode::trap); nothing has happened to it.
  const bool stays = victim.kind == PageRecord::Kind::secs && is(written, SgxError::child_present);
  victim.fate = stays ? Victim::Fate::stays : Victim::Fate::fails;
}

void Pager::account(const Victim& victim) {
  PageRecord& record = book_[victim.page];
  if (victim.fate != Victim::Fate::goes) {
    versions_.give_back(victim.slot);
    if (victim.image) backing_.give_back(*victim.image);
  }
  if (victim.fate == Victim::Fate::stays) {
    record.kept = true;
    [[maybe_unused]] const auto mapped = memory_.map_epc(book_.address_of(victim.page), victim.frame);
    return settle(record, PageRecord::State::resident);
  }
  record.kept = false;
  mark(record, false);
  --counts_.resident;
  if (victim.fate == Victim::Fate::fails) {  // it is blocked, and its frame is not free
    ++counts_.lost;
    return settle(record, PageRecord::State::lost);
  }
  free_.add(victim.frame);
  if (victim.fate == Victim::Fate::free) return settle(record, PageRecord::State::absent);
  record.kind = victim.kind;
  record.guest_blocked = victim.guest_blocked;
  record.secs = victim.secs;
  record.slot = victim.slot;
  record.image = *victim.image;
  record.linaddr = victim.linaddr;
  record.handed_out = false;
  ++counts_.evicted;
  ++counts_.evictions;
  settle(record, PageRecord::State::evicted);
}

/// So many that the next batches have theirs before frames are free for more; and none while nothing is evicted, so
/// that EPC of which a guest uses nothing is empty (EUPDATESVN). A frame is held back for the first one.
void Pager::tend_versions() {
  if (versions_.unused()) {
    for (const arch::Mfn frame : versions_.remove_all()) free_.add(frame);
    return;
  }
  while (versions_.free_slots() < slots_in_reserve) {
    if (!add_versions()) return;
  }
  if (const auto frame = versions_.remove_one()) free_.add(*frame);
}

bool Pager::has_version_slot() { return versions_.free_slots() != 0 || add_versions(); }

bool Pager::add_versions() {
  const auto frame = free_.take();
  if (!frame) return false;
  if (versions_.add(*frame)) return true;
  free_.add(*frame);
  return false;
}

/// A batch at a time: meanwhile whoever needs a page has it.
std::vector<vmx::EpcSection> Pager::give_back(u64 most, std::span<const vmx::EpcSection> of) {
  const MutexLock held(lock_);
  if (moving_) return {};
  ++busy_;
  FrameSet given;
  while (given.pages() < most && held_.pages() > least_) {
    const auto frame = none_free() ? std::nullopt : free_.take_lent(of);
    if (!frame) {
      const std::size_t some = std::min<u64>(batch, most - given.pages());
      if (evict(choose(some, Frames::lent, of)) == 0 && evict(choose(some, Frames::any, of)) == 0) break;
      continue;
    }
    const vmx::EnclsResult removed = package_.eremove(*frame);
    if (!done(removed)) {  // what a guest had before it was forgotten, and is not removed yet
      free_.add(*frame);
      break;
    }
    held_.remove(*frame);
    given.add({*frame, 1});
  }
  counts_.frames = held_.pages();
  --busy_;
  changed_.notify_all();
  return given.sections();
}

}  // namespace cloister::hypervisor
