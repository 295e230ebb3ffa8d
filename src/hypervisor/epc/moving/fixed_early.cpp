// Pages with frames of their own that leave while the guest runs, a batch at a time, as a pager's do (pager/evict.cpp):
// unmapped, blocked and counted as out with the gate closed, and written out while the guest runs.
#include <algorithm>
#include <chrono>
#include <new>

#include "hypervisor/epc/answer.hpp"
#include "hypervisor/epc/moving/fixed_pager.hpp"

namespace cloister::hypervisor {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using arch::Gpa;
using arch::Mfn;

namespace {
constexpr std::chrono::milliseconds before_its_turn(10);
}  // namespace

struct FixedPager::Victim {
  Number page = 0;
  Away& away;
  Mfn secs{};
  bool goes = false;
  bool blocked = false;  ///< not by the guest
};

void FixedPager::begin() {
  if (!domain_.can) return;
  {
    const MutexLock held(lock_);
    leaving_ = true;
    changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return !filling_; });
    for (auto& [number, away] : away_) away.what.handed_out = false;
    free_.assign(domain_.pages.pages(), false);
  }
  domain_.memory.set_accessed_dirty(true);
  domain_.meet(true);
  const ClosedGate each_enters_anew(domain_.gate);
}

void FixedPager::end() {
  {
    const MutexLock held(lock_);
    if (!leaving_ && away_.empty() && versions_.pages() == 0) return;
    leaving_ = false;
    bring_rest([] { return false; });
  }
  domain_.memory.set_accessed_dirty(false);
  domain_.meet(!all_here());
}

u64 FixedPager::left() const {
  const std::vector<vmx::EpcSection> touched = domain_.package.used_epc();
  if (touched.empty()) return 0;
  const MutexLock held(lock_);
  u64 pages = 0;
  for (Number page = 0; page < domain_.pages.pages(); ++page) {
    if (page % looked_at_once == 0) let_others();
    if (const auto away = away_.find(page); away != away_.end()) {
      pages += away->second.state != Away::State::lent && !away->second.what.handed_out ? 1 : 0;
      continue;
    }
    const auto frame = domain_.epc.frame_of(address_of(page));
    const bool free = page < free_.size() && free_[page];
    pages += frame && !free && lies_in(touched, *frame) ? 1 : 0;
  }
  return pages;
}

void FixedPager::begin_pass() {
  const MutexLock held(lock_);
  if (!leaving_) return;
  touched_ = domain_.package.used_epc();
  pass_ = handed_ = 0;
  lent_ = domain_.pages.pages();
  for (Number page = 0; page < domain_.pages.pages(); ++page) {
    if (page % looked_at_once == 0) let_others();
    const auto frame = domain_.epc.frame_of(address_of(page));
    free_[page] = free_[page] || !frame || touched_.empty() || !lies_in(touched_, *frame);
  }
}

std::size_t FixedPager::leave(bool hot, std::span<EarlyPage> to) {
  const MutexLock held(lock_);
  for (;;) {
    if (const std::size_t pages = hand_out(to); pages != 0) return pages;
    wait_for_turn();
    if (!leaving_ || pass_ == domain_.pages.pages()) return 0;
    if (const std::vector<Number> pages = next_of_pass(hot); !pages.empty())
      evict(pages);
    else
      let_others();
  }
}

/// For those for whom none leaves; who comes after a while waits in turn.
void FixedPager::wait_for_turn() {
  const auto its_turn = [this]() CLOISTER_REQUIRES(lock_) { return stay_ == 0; };
  if (changed_.wait_for(lock_, before_its_turn, its_turn)) return;
  waits_ = true;
  changed_.wait(lock_, its_turn);
  waits_ = false;
  changed_.notify_all();
}

/// Of those that the pass has come by.
std::size_t FixedPager::hand_out(std::span<EarlyPage> to) {
  std::size_t pages = 0;
  for (; handed_ < pass_ && pages < to.size(); ++handed_) {
    const auto away = away_.find(handed_);
    if (away == away_.end() || away->second.state != Away::State::out || away->second.what.handed_out) continue;
    EarlyPage& early = to[pages++];
    early.page = address_of(handed_);
    early.image = *away->second.what.image;
    away->second.what.handed_out = true;
  }
  return pages;
}

/// None may be such among those that it looks at.
std::vector<FixedPager::Number> FixedPager::next_of_pass(bool hot) {
  std::vector<Number> pages;
  const Number end = std::min(pass_ + looked_at_once, domain_.pages.pages());
  for (; pass_ < end && pages.size() < batch; ++pass_) {
    const Gpa address = address_of(pass_);
    const auto frame = domain_.epc.frame_of(address);
    if (!frame || away_.contains(pass_) || touched_.empty() || !lies_in(touched_, *frame)) continue;
    const bool used = domain_.memory.take_accessed(address, 1).front();
    if (used && !hot) {
      free_[pass_] = false;  // for all that is known
      continue;
    }
    bool free = false;
    if (is_child(*frame, nullptr, &free)) pages.push_back(pass_);
    free_[pass_] = free;
    if (free) blocked_.erase(pass_);
  }
  return pages;
}

bool FixedPager::is_child(Mfn frame, std::optional<Gpa>* secs, bool* free) {
  alignas(32) arch::Rdinfo info{};
  const vmx::EnclsResult found = encls(EnclsLeaf::erdinfo, {.page = frame, .rdinfo = &info});
  if (free != nullptr) *free = is(found, arch::SgxError::pg_invld);
  if (!done(found)) return false;
  const arch::PageType type = arch::Secinfo{.flags = info.flags, .reserved = {}}.type();
  if (secs != nullptr) *secs = Gpa{info.enclavecontext};
  return type != arch::PageType::secs && type != arch::PageType::va;
}

/// A spare one, or of those that are free the last ones, which a kernel that goes through its EPC in order uses last.
/// Nobody has its page until it is back.
bool FixedPager::lend_one() {
  if (const auto spare = domain_.epc.borrow(); spare && versions_.add(*spare)) return true;
  while (lent_-- != 0) {
    const Number page = lent_;
    if (page % looked_at_once == 0) let_others();
    const auto frame = domain_.epc.frame_of(address_of(page));
    if (!frame || away_.contains(page)) continue;
    const bool used = !touched_.empty() && lies_in(touched_, *frame);
    bool free = !used;
    if (used) is_child(*frame, nullptr, &free);
    if (!free) continue;
    Away& away = send_away(page, *frame);
    {
      const MutexUnlock apart(lock_);
      const ClosedGate closed(domain_.gate);
      const MutexLock handlers(domain_.handlers);
      free = !make_free(domain_.package, domain_.leaves, *frame);
    }
    if (free && versions_.add(*frame)) {
      settle(away, Away::State::lent);
      return true;
    }
    back(page);
  }
  lent_ = 0;
  return false;
}

void FixedPager::evict(std::span<const Number> pages) {
  evicting_ = true;
  while (versions_.free_slots() < pages.size() && lend_one()) {
  }
  std::vector<Victim> victims;
  for (const Number page : pages) {
    std::unique_ptr<SealedPage> image(versions_.free_slots() != 0 ? new (std::nothrow) SealedPage : nullptr);
    const auto frame = domain_.epc.frame_of(address_of(page));
    if (image == nullptr || !frame) break;
    Away& away = send_away(page, *frame);
    away.what = {.page = {.address = address_of(page).value, .slot = versions_.take()}, .image = std::move(image)};
    victims.push_back({.page = page, .away = away});
  }
  if (victims.size() < pages.size()) pass_ = domain_.pages.pages();  // there is no room for more
  {
    const MutexUnlock apart(lock_);
    if (!victims.empty()) {
      const ClosedGate closed(domain_.gate);
      const MutexLock handlers(domain_.handlers);
      block(victims);
    }
    for (Victim& victim : victims) write_out(victim);
  }
  for (const Victim& victim : victims) {
    if (victim.goes) {
      blocked_.erase(victim.page);
      settle(victim.away, Away::State::out);
    } else {
      if (victim.blocked) blocked_.insert(victim.page);
      versions_.give_back(victim.away.what.page.slot);
      back(victim.page);
    }
  }
  evicting_ = false;
  changed_.notify_all();
}

/// What is no child by now stays. All that may fail was had before: EBLOCK cannot be undone in place. A page that could
/// not be written out all the same is blocked until it can, and is known not to be the guest's.
void FixedPager::block(std::span<Victim> victims) {
  std::vector<Mfn> owners;
  for (Victim& victim : victims) {
    std::optional<Gpa> secs;
    if (!is_child(victim.away.frame, &secs, nullptr)) continue;
    const auto owner = domain_.epc.frame_of(*secs);
    if (!owner) continue;
    const vmx::EnclsResult blocked = encls(EnclsLeaf::eblock, {.page = victim.away.frame});
    MovedPage& page = victim.away.what.page;
    victim.blocked = done(blocked) || (is(blocked, arch::SgxError::blkstate) && has_blocked(Gpa{page.address}));
    page.guest_blocked = is(blocked, arch::SgxError::blkstate) && !victim.blocked;
    if (!victim.blocked && !page.guest_blocked) continue;
    page.secs = secs->value;
    victim.secs = *owner;
    victim.goes = true;
    if (std::ranges::find(owners, *owner) == owners.end()) owners.push_back(*owner);
  }
  for (const Mfn owner : owners) encls(EnclsLeaf::etrack, {.page = owner});
  for (const Victim& victim : victims) {
    if (victim.goes) enclv(EnclvLeaf::eincvirtchild, victim.secs, victim.away.frame);
  }
}

void FixedPager::write_out(Victim& victim) {
  if (!victim.goes) return;
  vmx::VersionSlot version{};
  {
    const MutexLock held(lock_);
    version = versions_.place_of(victim.away.what.page.slot);
  }
  SealedPage& image = *victim.away.what.image;
  vmx::PageinfoOperand pageinfo{.linaddr = 0, .source = image.bytes, .secinfo = image.pcmd, .secs = std::nullopt};
  victim.goes =
      written_out(encls(EnclsLeaf::ewb, {.page = victim.away.frame, .pageinfo = &pageinfo, .version = version}));
  victim.away.what.page.linaddr = pageinfo.linaddr;
  if (!victim.goes) enclv(EnclvLeaf::edecvirtchild, victim.secs, victim.away.frame);
}

}  // namespace cloister::hypervisor
