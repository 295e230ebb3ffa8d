// Pages that come back into their frames: one that is needed, all that are late, and what was to go elsewhere and
// stays.
#include "hypervisor/epc/moving/fixed_pager.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "hypervisor/epc/answer.hpp"

namespace cloister::hypervisor {

using arch::EnclsLeaf;
using arch::EnclvLeaf;

vmx::EnclsResult FixedPager::encls(EnclsLeaf leaf, const vmx::LeafOperands& operands) {
  return until_free(domain_.leaves, [&] { return domain_.package.encls(leaf, operands); });
}

void FixedPager::enclv(EnclvLeaf leaf, arch::Mfn secs, arch::Mfn child) {
  until_free(domain_.leaves, [&] { return domain_.package.enclv(leaf, {.page = secs, .child = child}); });
}

bool FixedPager::is_busy(Number page) const {
  const auto away = away_.find(page);
  return away != away_.end() && away->second.state == Away::State::busy;
}

/// Nobody finds it any more but who knows a translation from before.
FixedPager::Away& FixedPager::send_away(Number page, arch::Mfn frame) {
  Away& away = away_[page];
  away.frame = frame;
  ++busy_;
  any_.store(true, std::memory_order_release);
  domain_.memory.unmap_epc(address_of(page));
  return away;
}

void FixedPager::settle(Away& away, Away::State state) {
  busy_ += state == Away::State::busy ? 1 : 0;
  busy_ -= away.state == Away::State::busy ? 1 : 0;
  away.state = state;
  changed_.notify_all();
}

void FixedPager::back(Number page) {
  const auto away = away_.find(page);
  [[maybe_unused]] const auto mapped = domain_.memory.map_epc(address_of(page), away->second.frame);
  busy_ -= away->second.state == Away::State::busy ? 1 : 0;
  away_.erase(away);
  any_.store(!away_.empty(), std::memory_order_release);
  changed_.notify_all();
}

bool FixedPager::here(arch::Gpa page) const {
  if (all_here()) return true;
  ++wanting_;
  const MutexLock held(lock_);
  --wanting_;
  return !away_.contains(number_of(page));
}

void FixedPager::need(arch::Gpa page) {
  if (all_here()) return;
  ++wanting_;
  const MutexLock held(lock_);
  --wanting_;
  bring(number_of(page));
}

/// Not for ever, as there may always be one more.
void FixedPager::let_others() const {
  constexpr unsigned most_yields = 1000;
  const MutexUnlock apart(lock_);
  for (unsigned i = 0; wanting_ != 0 && i < most_yields; ++i) std::this_thread::yield();
}

bool FixedPager::has_blocked(arch::Gpa page) const {
  const MutexLock held(lock_);
  return blocked_.contains(number_of(page));
}

void FixedPager::set_blocked(arch::Gpa page, bool blocked) {
  const MutexLock held(lock_);
  if (blocked)
    blocked_.insert(number_of(page));
  else
    blocked_.erase(number_of(page));
}

void FixedPager::bring(Number page, bool stays) {
  for (bool lent = false;;) {
    changed_.wait(lock_, [&]() CLOISTER_REQUIRES(lock_) { return !is_busy(page); });
    const auto away = away_.find(page);
    if (away == away_.end()) return;
    if (away->second.state == Away::State::out) return load(page);
    if (std::exchange(lent, true)) return;  // it cannot be had back
    free_lent(page, stays);
  }
}

void FixedPager::load(Number page) {
  Away& away = away_.at(page);
  settle(away, Away::State::busy);
  const MovedPage& what = away.what.page;
  const vmx::VersionSlot version = versions_.place_of(what.slot);
  const arch::Mfn secs = domain_.epc.frame_of(arch::Gpa{what.secs}).value_or(arch::Mfn{});
  {
    const MutexUnlock apart(lock_);
    SealedPage& image = *away.what.image;
    vmx::PageinfoOperand pageinfo{.linaddr = what.linaddr, .source = image.bytes, .secinfo = image.pcmd, .secs = secs};
    const bool came = done(encls(what.guest_blocked ? EnclsLeaf::eldbc : EnclsLeaf::elduc,
                                 {.page = away.frame, .pageinfo = &pageinfo, .version = version}));
    enclv(EnclvLeaf::edecvirtchild, secs, came ? away.frame : secs);
  }
  versions_.give_back(what.slot);
  back(page);
}

/// No page leaves until `stay_` is less again.
void FixedPager::stay(bool stays_already) {
  if (!stays_already) changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return !evicting_ && !waits_; });
  ++stay_;
}

/// An array goes once none of its slots is used.
void FixedPager::free_lent(Number page, bool stays) {
  // Whoever is one of them already has waited.
  stay(stays);
  for (bool some = true; some;) {
    const auto lent = away_.find(page);
    if (lent == away_.end()) break;
    std::vector<Number> its;
    for (const auto& [number, away] : away_) {
      if (away.state != Away::State::lent && versions_.frame_of(away.what.page.slot.page) == lent->second.frame)
        its.push_back(number);
    }
    for (const Number number : its) bring(number, true);
    some = !its.empty();
  }
  remove_unused();
  --stay_;
  changed_.notify_all();
}

void FixedPager::remove_unused() {
  std::vector<arch::Mfn> frames;
  versions_.remove_unused(
      {.take = [] { return std::nullopt; }, .give_back = [&frames](arch::Mfn frame) { frames.push_back(frame); }});
  std::vector<Number> pages;
  for (const auto& [number, away] : away_) {
    if (away.state == Away::State::lent && std::ranges::find(frames, away.frame) != frames.end())
      pages.push_back(number);
  }
  for (const Number page : pages) back(page);
  domain_.epc.take_borrowed_back(versions_.frames_there());
}

void FixedPager::while_here(std::span<const arch::Gpa> pages, const std::function<void()>& what) {
  const MutexLock held(lock_);
  stay(false);
  for (const arch::Gpa page : pages) {
    if (const auto known = domain_.pages.page_at(page)) bring(known->number, true);
  }
  {
    const MutexUnlock apart(lock_);
    what();
  }
  --stay_;
  changed_.notify_all();
}

void FixedPager::forget() {
  const MutexLock held(lock_);
  pass_ = handed_ = domain_.pages.pages();
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return busy_ == 0 && !evicting_; });
  for (const auto& [number, away] : away_) {
    [[maybe_unused]] const auto mapped = domain_.memory.map_epc(address_of(number), away.frame);
  }
  away_.clear();
  any_.store(false, std::memory_order_release);
  blocked_.clear();
  versions_.remove_all();
  domain_.epc.take_borrowed_back();
}

void FixedPager::bring_rest(const std::function<bool()>& enough) {
  std::vector<Number> pages;
  for (const auto& [number, away] : away_) {
    if (away.state != Away::State::lent) pages.push_back(number);
  }
  std::ranges::sort(pages);
  for (const Number page : pages) {
    if (enough()) return;
    bring(page);
  }
  remove_unused();
}

void FixedPager::bring_all(const std::atomic<bool>& stop) {
  const MutexLock held(lock_);
  if (leaving_ || filling_ || taken_out_ || (away_.empty() && versions_.pages() == 0)) return;
  filling_ = true;
  bring_rest([&]() CLOISTER_REQUIRES(lock_) { return stop || leaving_; });
  if (away_.empty()) {
    const MutexUnlock apart(lock_);
    domain_.meet(false);
  }
  filling_ = false;
  changed_.notify_all();
}

std::vector<FixedPager::Out> FixedPager::take_out() {
  const MutexLock held(lock_);
  leaving_ = true;  // nobody else brings any
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return busy_ == 0 && !evicting_ && !filling_; });
  leaving_ = false;
  taken_out_ = true;
  std::vector<Out> all;
  for (auto& [number, away] : away_) {
    taken_.insert(address_of(number).value);
    if (away.state == Away::State::lent) continue;
    const auto secs = domain_.epc.frame_of(arch::Gpa{away.what.page.secs});
    if (secs) enclv(EnclvLeaf::edecvirtchild, *secs, *secs);
    all.push_back(std::move(away.what));
  }
  away_.clear();
  any_.store(false, std::memory_order_release);
  return all;
}

void FixedPager::put_back() {
  const MutexLock held(lock_);
  for (const u64 page : taken_) {
    if (away_.contains(number_of(arch::Gpa{page}))) continue;
    if (const auto frame = domain_.epc.frame_of(arch::Gpa{page})) {
      [[maybe_unused]] const auto mapped = domain_.memory.map_epc(arch::Gpa{page}, *frame);
    }
  }
  const bool met = !taken_.empty();
  taken_.clear();
  taken_out_ = false;
  if (!met && !away_.empty()) return;
  const bool meets = !away_.empty();
  const MutexUnlock apart(lock_);
  domain_.memory.set_accessed_dirty(false);
  domain_.meet(meets);
}

/// Where a SECS is.
std::optional<arch::Mfn> FixedPager::secs_at(arch::Gpa page) {
  const auto frame = domain_.epc.frame_of(page);
  alignas(32) arch::Rdinfo info{};
  if (!frame || !done(encls(EnclsLeaf::erdinfo, {.page = *frame, .rdinfo = &info}))) return std::nullopt;
  if (arch::Secinfo{.flags = info.flags, .reserved = {}}.type() != arch::PageType::secs) return std::nullopt;
  return frame;
}

void FixedPager::come_late(std::vector<Out> pages) {
  {
    const MutexLock held(lock_);
    std::unordered_map<u64, std::optional<arch::Mfn>> owners;
    for (Out& out : pages) {
      const auto [owner, is_new] = owners.try_emplace(out.page.secs);
      if (is_new) owner->second = secs_at(arch::Gpa{out.page.secs});
      if (!owner->second) {  // it is lost, and so are they
        versions_.give_back(out.page.slot);
        continue;
      }
      const arch::Gpa address{out.page.address};
      Away& away = send_away(number_of(address), *domain_.epc.frame_of(address));
      away.what = std::move(out);
      settle(away, Away::State::out);
      enclv(EnclvLeaf::eincvirtchild, *owner->second, *owner->second);
    }
    versions_.remove_unused({.take = [] { return std::nullopt; }, .give_back = [](arch::Mfn) {}});
    const std::vector<arch::Mfn> arrays = versions_.frames_there();
    for (Number page = 0; page < domain_.pages.pages(); ++page) {
      const auto frame = domain_.epc.frame_of(address_of(page));
      if (frame && std::ranges::find(arrays, *frame) != arrays.end())
        settle(send_away(page, *frame), Away::State::lent);
    }
  }
  domain_.meet(true);
}

}  // namespace cloister::hypervisor
